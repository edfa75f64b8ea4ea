"""The demonstration: order of its steps, what ends it early, and that nothing is left running."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from skerry_factory.demo import Demo, Identity, Method, Patience, Workload, run_demo
from skerry_factory.errors import FactoryError
from skerry_factory.progress import Progress, Step
from skerry_factory.validate import Check, Validation

PATIENCE = Patience(identity_seconds=0.2, workload_seconds=0.2, pause_seconds=0.0)
IDENTITY = Identity("standalone", "pump-station-7", "2027-11-23")
WORKING = Workload("running", 3)


def validation(*results: str) -> Validation:
    checks = tuple(Check("base", f"check {n}", result, 0.1, "") for n, result in enumerate(results))
    return Validation("pump-station-7", "2026-11-23T00:00:00Z", 1.0, checks, Path("report.html"))


@dataclass
class Scripted:
    """Parts and appliance that answer as told and note what was asked of them."""

    identities: list[Identity | None] = field(default_factory=lambda: [IDENTITY])
    workloads: list[Workload | None] = field(default_factory=lambda: [WORKING])
    checks: Validation = field(default_factory=lambda: validation("passed", "passed"))
    fails_at: str = ""
    method: Method = Method.STANDALONE
    endorsement_keys: list[str | None] = field(default_factory=lambda: ["AAE="])
    endpoint: str = "https://10.0.2.2:8443"
    image: str = "debian-13-amd64"
    device: str = "pump-station-7"
    how: str = "no usable KVM: emulated"
    calls: list[str] = field(default_factory=list)
    enrolled: tuple[str, str] = ("", "")
    telemetries: list[list[str] | None] = field(default_factory=lambda: [["1", "2", "3"]])

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails_at:
            raise FactoryError(f"{name} went wrong")

    def build(self) -> str:
        self._called("build")
        return "643 MB, 412 packages"

    @contextmanager
    def cloud(self) -> "Iterator[Scripted]":
        self._called("cloud")
        try:
            yield self
        finally:
            self.calls.append("stop the cloud")

    def enrol(self, device: str, endorsement_key: str) -> None:
        self._called("enrol")
        self.enrolled = (device, endorsement_key)

    def telemetry(self, device: str, module: str, count: int) -> list[str] | None:
        self._called("telemetry")
        assert (device, module, count) == (self.device, "sample-sensor", 3)
        found = self.telemetries
        return found.pop(0) if len(found) > 1 else found[0]

    def endorsement_key(self) -> str | None:
        self._called("tpm")
        keys = self.endorsement_keys
        return keys.pop(0) if len(keys) > 1 else keys[0]

    def stamp(self) -> None:
        self._called("stamp")

    @contextmanager
    def boot(self, step: Step) -> "Iterator[Scripted]":
        self._called("boot")
        try:
            yield self
        finally:
            self.calls.append("stop")

    def identity(self) -> Identity | None:
        self._called("identity")
        return self.identities.pop(0) if len(self.identities) > 1 else self.identities[0]

    def workload(self, module: str) -> Workload | None:
        self._called("workload")
        return self.workloads.pop(0) if len(self.workloads) > 1 else self.workloads[0]

    def validate(self, waits_for: Callable[[str], None]) -> Validation:
        self._called("validate")
        return self.checks

    def console_tail(self) -> str:
        return "last words of the console"


def demonstrate(parts: Scripted) -> tuple[Demo, str]:
    shown = io.StringIO()
    return run_demo(parts, Progress(shown), PATIENCE), shown.getvalue()


def test_a_good_run_goes_through_every_step() -> None:
    """All six steps are in the table, in order, with their facts, and the machine is stopped."""
    parts = Scripted()
    demo, _ = demonstrate(parts)
    assert demo.done
    assert [row.step for row in demo.rows] == [
        "build",
        "stamp",
        "boot",
        "identity",
        "workload",
        "validate",
    ]
    assert {row.result for row in demo.rows} == {"ok"}
    assert "edge CA until 2027-11-23" in demo.rows[3].outcome
    assert demo.rows[4].outcome == "running, 3 readings"
    assert demo.rows[5].outcome == "2 checks, report: report.html"
    assert parts.calls[-1] == "stop"


def test_with_a_cloud_the_device_is_enrolled_by_its_tpm() -> None:
    """The lab serves before the disk is stamped and ends after the machine."""
    by_dps = Identity("dps", "pump-station-7", "2027-11-23")
    parts = Scripted(method=Method.TPM, endorsement_keys=[None, "AAE="], identities=[None, by_dps])
    parts.telemetries.insert(0, None)
    demo, shown = demonstrate(parts)
    assert demo.done
    before = ["build", "cloud", "stamp", "boot", "enrol", "identity", "workload"]
    assert [row.step for row in demo.rows] == [*before, "telemetry", "validate"]
    assert demo.rows[7].outcome == "3 readings in the lab cloud, the last 3"
    assert demo.rows[1].outcome == "IoT Hub and DPS at https://10.0.2.2:8443"
    assert demo.rows[5].outcome == "dps, key in the TPM, edge CA until 2027-11-23"
    assert parts.enrolled == ("pump-station-7", "AAE=")
    assert "waiting for the endorsement key of its TPM" in shown
    assert parts.calls[-2:] == ["stop", "stop the cloud"]


@pytest.mark.parametrize("step", ["cloud", "stamp", "boot", "tpm", "enrol", "telemetry"])
def test_a_cloud_never_stays_behind(step: str) -> None:
    """Whatever fails, the lab is stopped if it was started."""
    parts = Scripted(method=Method.TPM, fails_at=step)
    demo, _ = demonstrate(parts)
    assert demo.problem == f"{step} went wrong"
    assert parts.calls[-1] == ("cloud" if step == "cloud" else "stop the cloud")


def test_a_tpm_that_is_never_shown_ends_it() -> None:
    """Within the time that an identity may take."""
    demo, _ = demonstrate(Scripted(method=Method.TPM, endorsement_keys=[None]))
    assert demo.problem == "the device does not show its TPM after 0 s"
    assert demo.console == "last words of the console"


def test_telemetry_that_never_arrives_ends_it() -> None:
    """Within the time that a workload may take."""
    demo, _ = demonstrate(Scripted(method=Method.TPM, telemetries=[None]))
    assert demo.problem == "the lab cloud has not 3 readings of sample-sensor after 0 s"
    assert demo.rows[-1].step == "telemetry"


def test_it_waits_until_the_device_is_ready() -> None:
    """Neither a missing identity nor too few readings end it; it looks again."""
    no_ca = Identity("standalone", "pump-station-7", None)
    parts = Scripted(
        identities=[None, no_ca, IDENTITY],
        workloads=[None, Workload("stopped", 0), Workload("running", 2), WORKING],
    )
    demo, shown = demonstrate(parts)
    assert demo.done
    assert (parts.calls.count("identity"), parts.calls.count("workload")) == (3, 4)
    assert "waiting for sample-sensor to run and log 3 readings" in shown


@pytest.mark.parametrize("step", ["build", "stamp", "boot"])
def test_a_failed_step_before_the_machine_runs_ends_it(step: str) -> None:
    """The step is marked as failed, its message is kept, and nothing after it is tried."""
    parts = Scripted(fails_at=step)
    demo, _ = demonstrate(parts)
    assert (demo.rows[-1].step, demo.rows[-1].result) == (step, "failed")
    assert demo.problem == f"{step} went wrong"
    assert parts.calls[-1] == step


@pytest.mark.parametrize("step", ["identity", "workload", "validate"])
def test_a_failed_step_on_the_machine_shows_its_console_and_stops_it(step: str) -> None:
    """The console's last words are kept, and the machine does not stay behind."""
    parts = Scripted(fails_at=step)
    demo, _ = demonstrate(parts)
    assert (demo.rows[-1].step, demo.rows[-1].result) == (step, "failed")
    assert demo.console == "last words of the console"
    assert parts.calls[-1] == "stop"


def test_a_workload_that_never_works_is_described() -> None:
    """When patience ends the message says for how long, and what was seen last."""
    demo, _ = demonstrate(Scripted(workloads=[Workload("backoff", 0)]))
    assert demo.problem == (
        "sample-sensor does not work after 0 s; last seen 'backoff' with 0 readings"
    )


def test_a_device_without_identity_ends_it() -> None:
    """No identity within the time is a failure of that step."""
    demo, _ = demonstrate(Scripted(identities=[None]))
    assert demo.problem == "the device has no identity after 0 s"


def test_a_failed_check_ends_it_with_its_name() -> None:
    """An appliance that is not valid makes the demonstration fail and names the check."""
    demo, _ = demonstrate(Scripted(checks=validation("passed", "failed")))
    assert demo.problem == "1 of 2 checks failed, see report.html: base: check 1"
    assert demo.console == "last words of the console"


def test_an_interrupt_stops_the_machine() -> None:
    """Ctrl-C on the way out of any step stops the machine before the command ends."""

    class Interrupted(Scripted):
        def workload(self, module: str) -> Workload | None:
            raise KeyboardInterrupt

    parts = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        demonstrate(parts)
    assert parts.calls[-1] == "stop"


def test_the_json_form_tells_every_step() -> None:
    """`--output json` has result, steps, problem and console."""
    demo, _ = demonstrate(Scripted(fails_at="workload"))
    told = json.loads(json.dumps(demo.as_json()))
    assert told["result"] == "failed"
    assert [step["result"] for step in told["steps"]] == ["ok", "ok", "ok", "ok", "failed"]
    assert (told["problem"], told["console"]) == (
        "workload went wrong",
        ["last words of the console"],
    )
