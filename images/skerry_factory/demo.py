"""The demonstration: from an image definition to a validated appliance, step by step, in one table.

The device proves itself by its TPM to the DPS of a lab on this machine, or stands alone. The steps
and their order are here; what builds, serves, boots and logs in is passed in as `Parts`. A step
that fails ends the demonstration: the rest is not tried, machine and lab are stopped, and the last
lines of the console are part of the result. `run_demo` leaves nothing running, however it ends.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar

from skerry_factory.errors import FactoryError
from skerry_factory.progress import Progress, Step
from skerry_factory.validate import Validation, shown

SENSOR = "sample-sensor"
READINGS = 3

T = TypeVar("T")


class Method(StrEnum):
    """How the device comes by its identity."""

    TPM = "tpm"
    STANDALONE = "standalone"


class PatienceEnded(FactoryError):
    """What was waited for did not come about in time."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, and how often to look."""

    identity_seconds: float = 300.0
    workload_seconds: float = 600.0
    pause_seconds: float = 2.0

    def wait_until(self, find: Callable[[], T | None], seconds: float, otherwise: str) -> T:
        """Return what `find` returns once it is not None; PatienceEnded after `seconds`."""
        deadline = time.monotonic() + seconds
        while (found := find()) is None:
            if time.monotonic() > deadline:
                raise PatienceEnded(f"{otherwise} after {seconds:.0f} s")
            time.sleep(self.pause_seconds)
        return found


@dataclass(frozen=True)
class Identity:
    """What the device says about itself; `edge_ca_until` is None while there is no edge CA."""

    source: str
    device_id: str
    edge_ca_until: str | None

    @property
    def how(self) -> str:
        """Where the identity comes from, in words."""
        return "key in keyd" if self.source == "standalone" else f"{self.source}, key in the TPM"


@dataclass(frozen=True)
class Workload:
    """State of the sample sensor: its status, as edged tells it, and the readings it logged."""

    status: str
    readings: int


class Appliance(Protocol):
    """A booted appliance."""

    @property
    def how(self) -> str:
        """How it runs, in words: with KVM, or emulated and why."""

    def endorsement_key(self) -> str | None:
        """What the device shows of its TPM (base64), or None while it does not answer."""

    def identity(self) -> Identity | None:
        """What the device is, or None while it does not know or does not answer."""

    def workload(self, module: str) -> Workload | None:
        """How a module does, or None while it does not exist."""

    def validate(self, waits_for: Callable[[str], None]) -> Validation: ...

    def console_tail(self) -> str: ...


class Cloud(Protocol):
    """A lab cloud that serves on this machine."""

    @property
    def endpoint(self) -> str:
        """Its address, as the device has it."""

    def enrol(self, device: str, endorsement_key: str) -> None:
        """Let a device register that shows the TPM of this endorsement key (base64)."""

    def telemetry(self, device: str, module: str, count: int) -> Sequence[str] | None:
        """Return the first messages of a module, None while fewer than `count` have arrived."""


class Parts(Protocol):
    """What a demonstration is made of."""

    @property
    def method(self) -> Method: ...

    @property
    def image(self) -> str: ...

    @property
    def device(self) -> str: ...

    def build(self) -> str:
        """Build the image; returns its facts in words."""

    def cloud(self) -> AbstractContextManager[Cloud]:
        """Start a lab; leaving the context stops it."""

    def stamp(self) -> None:
        """Make the device's disk, for the cloud that was started or to stand alone."""

    def boot(self, step: Step) -> AbstractContextManager[Appliance]:
        """Boot the stamped disk until one can log in; leaving the context stops the machine."""


@dataclass(frozen=True)
class Row:
    """One step of the table."""

    step: str
    detail: str
    seconds: float
    result: str
    outcome: str

    def __str__(self) -> str:
        head = f"  {self.step:<10}{self.detail:<20}{self.seconds:7.1f} s   {self.result}"
        return f"{head}   {self.outcome}".rstrip()


def table(rows: Sequence[Row]) -> str:
    """Return the steps as they are shown to people."""
    return "\n".join(str(row) for row in rows)


@dataclass
class Demo:
    """The demonstration so far; `problem` is why it ended early, `console` the machine's words."""

    rows: list[Row] = field(default_factory=list)
    problem: str | None = None
    console: str = ""

    @property
    def done(self) -> bool:
        return self.problem is None

    def as_json(self) -> dict[str, object]:
        return {
            "result": "done" if self.done else "failed",
            "seconds": round(sum(row.seconds for row in self.rows), 1),
            "steps": [asdict(row) for row in self.rows],
            "problem": self.problem,
            "console": self.console.splitlines(),
        }


def run_demo(parts: Parts, progress: Progress, patience: Patience) -> Demo:
    """Run every step; the result tells how far it came."""
    demo = Demo()
    try:
        with _step(demo, Progress.silent(), "build", parts.image) as step:  # it shows its own
            step.done_as(parts.build())
        with ExitStack() as running:
            cloud = None
            if parts.method is Method.TPM:
                with _step(demo, progress, "cloud", "skerry-lab") as step:
                    cloud = running.enter_context(parts.cloud())
                    step.done_as(f"IoT Hub and DPS at {cloud.endpoint}")
            with _step(demo, progress, "stamp", parts.device):
                parts.stamp()
            with _step(demo, progress, "boot", "QEMU, OVMF, TPM 2.0") as step:
                appliance = running.enter_context(parts.boot(step))
                step.done_as(appliance.how)
            _watch(demo, progress, appliance, patience, cloud, parts.device)
    except FactoryError as error:
        demo.problem = str(error)
    return demo


def _watch(
    demo: Demo,
    progress: Progress,
    appliance: Appliance,
    patience: Patience,
    cloud: Cloud | None,
    device: str,
) -> None:
    try:
        if cloud is not None:
            with _step(demo, progress, "enrol", device) as step:
                step.waits_for("the endorsement key of its TPM")
                seconds = patience.identity_seconds
                silent = "the device does not show its TPM"
                key = patience.wait_until(appliance.endorsement_key, seconds, silent)
                cloud.enrol(device, key)
                step.done_as("endorsement key of its TPM")
        _identity(demo, progress, appliance, patience)
        _workload(demo, progress, appliance, patience)
        if cloud is not None:
            _telemetry(demo, progress, cloud, patience, device)
        _validate(demo, progress, appliance)
    except FactoryError:
        demo.console = appliance.console_tail()
        raise


def _identity(demo: Demo, progress: Progress, appliance: Appliance, patience: Patience) -> None:
    with _step(demo, progress, "identity", "of the device") as step:
        step.waits_for("the device's identity and the edge CA")

        def found() -> Identity | None:
            known = appliance.identity()
            return known if known is not None and known.edge_ca_until is not None else None

        known = patience.wait_until(found, patience.identity_seconds, "the device has no identity")
        step.done_as(f"{known.how}, edge CA until {known.edge_ca_until}")


def _workload(demo: Demo, progress: Progress, appliance: Appliance, patience: Patience) -> None:
    with _step(demo, progress, "workload", SENSOR) as step:
        step.waits_for(f"{SENSOR} to run and log {READINGS} readings")
        last = "nothing of it was seen"

        def found() -> Workload | None:
            nonlocal last
            seen = appliance.workload(SENSOR)
            if seen is None:
                return None
            last = f"last seen {seen.status!r} with {seen.readings} readings"
            return seen if seen.status == "running" and seen.readings >= READINGS else None

        try:
            seen = patience.wait_until(found, patience.workload_seconds, f"{SENSOR} does not work")
        except PatienceEnded as error:
            raise FactoryError(f"{error}; {last}") from error
        step.done_as(f"{seen.status}, {seen.readings} readings")


def _telemetry(
    demo: Demo, progress: Progress, cloud: Cloud, patience: Patience, device: str
) -> None:
    with _step(demo, progress, "telemetry", "by the edge hub") as step:
        step.waits_for(f"{READINGS} readings of {SENSOR} in the lab cloud")
        silent = f"the lab cloud has not {READINGS} readings of {SENSOR}"
        found = patience.wait_until(
            lambda: cloud.telemetry(device, SENSOR, READINGS), patience.workload_seconds, silent
        )
        step.done_as(f"{len(found)} readings in the lab cloud, the last {found[-1]}")


def _validate(demo: Demo, progress: Progress, appliance: Appliance) -> None:
    with _step(demo, progress, "validate", "testinfra over SSH") as step:
        validation = appliance.validate(step.waits_for)
        if not validation.valid:
            failed = [f"{c.area}: {c.name}" for c in validation.checks if c.result == "failed"]
            counts = f"{len(failed)} of {len(validation.checks)} checks failed"
            raise FactoryError(f"{counts}, see {shown(validation.report)}: {'; '.join(failed)}")
        step.done_as(f"{validation.count('passed')} checks, report: {shown(validation.report)}")


@contextmanager
def _step(demo: Demo, progress: Progress, name: str, detail: str) -> Iterator[Step]:
    result = "failed"
    with progress.step(name, detail) as step:
        try:
            yield step
            result = "ok"
        finally:
            outcome = step.outcome if result == "ok" else ""
            demo.rows.append(Row(name, detail, round(step.seconds, 1), result, outcome))
