"""How checks are found, chosen, run at once, and told apart: every upstream id is there."""

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from harness.appliances import Machine
from harness.lab import START
from skerry.base.errors import SettingsError, SkerryError
from skerry.check.appliance import Appliance, Facts
from skerry.check.discover import all_checks, choose
from skerry.check.model import (
    Check,
    Finding,
    Fix,
    Outcome,
    Result,
    Section,
    error,
    fatal,
    ok,
    skipped,
    warning,
)
from skerry.check.report import exit_status, json_of, text_of
from skerry.check.run import repair, run_checks
from skerry.cli.main import run

NOBODY = cast(Appliance, None)

UPSTREAM = [
    "keyd-config-well-formed",
    "certd-config-well-formed",
    "tpmd-config-well-formed",
    "identityd-config-well-formed",
    "configs-up-to-date",
    "hostname",
    "aziot-version",
    "host-local-time",
    "identity-certificate-expiry",
    "est-identity-and-bootstrap-certificate-expiry",
    "local-ca-certificate-expiry",
    "certs-preloaded",
    "keyd-running",
    "certd-running",
    "tpmd-running",
    "identityd-running",
    "certs-read",
    "key-pairs-read",
    "est-server-https",
    "certs-match-private-keys",
    "host-connect-iothub-amqp",
    "host-connect-iothub-https",
    "host-connect-iothub-mqtt",
    "host-connect-dps-endpoint",
    "aziot-edged-config-well-formed",
    "config-up-to-date",
    "container-engine-uri",
    "parent_hostname",
    "container-resolve-parent-hostname",
    "connect-management-uri",
    "aziot-edge-version",
    "container-local-time",
    "container-engine-dns",
    "container-engine-ipv6",
    "container-engine-logrotate",
    "edge-agent-storage-mounted-from-host",
    "edge-hub-storage-mounted-from-host",
    "check-agent-image",
    "proxy-settings",
    "container-default-connect-upstream-amqp",
    "container-default-connect-upstream-https",
    "container-default-connect-upstream-mqtt",
    "container-connect-upstream-amqp",
    "container-connect-upstream-https",
    "container-connect-upstream-mqtt",
]


def check(name: str, run: Any, *needs: str) -> Check:
    return Check(name, Section.APPLIANCE, name, run, needs)


def results(*checks: Check, patience: float = 10) -> dict[str, Result]:
    found = run_checks(checks, NOBODY, patience)
    return {one.check.id: one.finding.result for one in found}


def test_every_upstream_check_is_there() -> None:
    """All 45 ids of azure-iot-edge.md §7.2 and §7.3, unchanged."""
    assert len(UPSTREAM) == 45
    assert set(UPSTREAM) - {one.id for one in all_checks()} == set()


def test_every_need_is_a_check() -> None:
    """No check waits for one that does not exist."""
    ids = {one.id for one in all_checks()}
    assert {name for one in all_checks() for name in one.needs} - ids == set()


def test_an_unknown_id_is_told_with_the_nearest() -> None:
    """Nothing is run."""
    with pytest.raises(SkerryError, match="did you mean 'keyd-running'"):
        choose(all_checks(), ["keyd-runing"], [])


def test_a_check_is_skipped_when_its_need_failed() -> None:
    """And so is what needs that one in turn; the cause is told once."""
    first = check("first", lambda _: error("broken", "mend it"))
    second = check("second", lambda _: ok(), "first")
    third = check("third", lambda _: ok(), "second")
    assert results(third, second, first) == {
        "first": Result.ERROR,
        "second": Result.SKIPPED,
        "third": Result.SKIPPED,
    }


def test_a_fatal_result_begins_nothing_more() -> None:
    """What waited for it is skipped."""
    gate = check("gate", lambda _: fatal("no rights", "sudo"))
    assert results(gate, check("later", lambda _: ok(), "gate"))["later"] is Result.SKIPPED


def test_a_check_that_hangs_holds_nobody_up() -> None:
    """It is an error after the time of the run; the others have their results."""
    forever = threading.Event()
    stuck = check("stuck", lambda _: forever.wait() and ok())
    found = results(stuck, check("quick", lambda _: ok()), patience=0.2)
    forever.set()
    assert found == {"stuck": Result.ERROR, "quick": Result.OK}


def test_a_bug_in_a_check_is_one_finding() -> None:
    """The other checks are not hidden by it."""
    found = results(check("bug", lambda _: 1 // 0), check("quick", lambda _: ok()))
    assert found == {"bug": Result.ERROR, "quick": Result.OK}


def test_settings_that_cannot_be_read_are_one_finding() -> None:
    """Their own check says why; the others only that they cannot tell."""

    def read(_: Appliance) -> Finding:
        raise SettingsError("line 1")

    assert results(check("reader", read)) == {"reader": Result.SKIPPED}


def test_json_has_upstreams_shape_and_ours_beside_it(tmp_path: Path) -> None:
    """Scripts for Azure IoT Edge read `result` and `details`; the keys are a contract."""
    machine = Machine(tmp_path)
    outcomes = [
        Outcome(check("fine", ok), ok("seen", figure=1)),
        Outcome(check("bad", ok), error("bad thing", "mend", "seen")),
        Outcome(check("later", ok), skipped("needs bad")),
    ]
    found = json_of(outcomes, machine.appliance(), START)
    info: Any = found["additional_info"]
    assert set(info) == {"docker_version", "aziot_edged_version", "now", "os", "system_info"}
    assert set(info["os"]) == {"id", "version_id", "arch", "bitness"}
    checks: Any = found["checks"]
    assert [entry["result"] for entry in checks.values()] == [
        {"result": "ok"},
        {"result": "error", "details": ["bad thing", "seen"]},
        {"result": "skipped", "details": ["needs bad"]},
    ]
    assert checks["fine"]["additional_info"] == {"figure": 1}
    ours = {"description", "section", "cause", "evidence", "remedy", "fixable", "fixed"}
    assert set(checks["bad"]) == {"result", "additional_info", "link", "seconds", *ours}
    assert (checks["bad"]["remedy"], checks["bad"]["fixable"]) == ("mend", False)


def test_a_repair_is_followed_by_another_look() -> None:
    """What is well then is shown as fixed, and by what."""
    state = {"well": False}
    fix = Fix("turned it on", lambda: state.update(well=True))
    lamp = check("lamp", lambda _: ok() if state["well"] else warning("off", "on", fix=fix))
    told: list[str] = []
    before = run_checks([lamp], NOBODY)
    (after,) = repair(before, lambda some: run_checks(some, NOBODY), told.append)
    assert (after.finding.result, after.fixed) == (Result.OK, "turned it on")
    assert told == ["lamp: turned it on"]


def test_warnings_fail_only_when_asked() -> None:
    """Exit status 0 with warnings, 1 with --warnings-as-errors; errors always 1."""
    warned = [Outcome(check("a", ok), warning("w", "r"))]
    broken = [Outcome(check("a", ok), error("e", "r"))]
    assert exit_status(warned, warnings_as_errors=False) == 0
    assert exit_status(warned, warnings_as_errors=True) == 1
    assert exit_status(broken, warnings_as_errors=False) == 1


def test_text_shows_what_is_wrong_and_counts_the_rest() -> None:
    """Errors first, evidence and remedy below, one line for all that is well."""
    outcomes = [
        Outcome(check("fine", ok), ok()),
        Outcome(check("odd", ok), warning("odd thing", "look", "seen")),
        Outcome(check("bad", ok), error("bad thing", "mend")),
    ]
    text = text_of(outcomes, verbose=False, colour=False, chosen=False)
    assert text == (
        "× bad  bad thing\n    remedy    mend\n"
        "‼ odd  odd thing\n    evidence  seen\n    remedy    look\n\n"
        "1 ok, 1 warning, 1 error\n"
    )


def test_a_fact_is_looked_up_once_and_so_is_its_failure() -> None:
    """Whoever asks gets the same value, or the same error."""
    asked: list[int] = []

    def make() -> int:
        asked.append(1)
        raise SkerryError("no")

    facts = Facts()
    for _ in range(2):
        with pytest.raises(SkerryError, match="no"):
            facts.once("x", make)
    assert asked == [1]


def test_check_list_names_every_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """CATEGORY, ID, DESCRIPTION, one line each."""
    assert run(["check-list"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["CATEGORY", "ID", "DESCRIPTION"]
    assert len(lines) == len(all_checks())
