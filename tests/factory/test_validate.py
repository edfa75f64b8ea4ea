"""Validation: the checks of a folder run against an appliance over SSH, and what is reported."""

import json
import os
import stat
from pathlib import Path

import pytest

from skerry_factory.ssh import Target
from skerry_factory.validate import (
    Validation,
    ValidationError,
    checks_of_junit,
    table,
    validate,
)

GOOD = """\
import pytest
pytestmark = pytest.mark.appliance

def test_root_is_there(host):
    assert host.file("/").is_directory
"""
BAD = GOOD + "\ndef test_a_planted_fault(host):\n    assert host.file('/no-such-file').exists\n"
UNMARKED = "def test_of_the_project():\n    assert True\n"

SSH = '#!/bin/sh\nfor last; do :; done\necho "$*" >> "$SSH_LOG"\nexec sh -c "$last"\n'
SUDO = '#!/bin/sh\nexec "$@"\n'


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """An appliance whose ssh and sudo are programs on PATH that run the command here."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("ssh", SSH), ("sudo", SUDO)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SSH_LOG", str(tmp_path / "ssh.log"))
    return Target("127.0.0.1", 2222, "tech", tmp_path / "id", tmp_path / "known_hosts")


def folder_of_checks(tmp_path: Path, **areas: str) -> Path:
    for area, text in areas.items():
        (tmp_path / "checks" / area).mkdir(parents=True)
        (tmp_path / "checks" / area / "test_verify.py").write_text(text)
    return tmp_path / "checks"


def run(target: Target, tmp_path: Path, checks: Path) -> Validation:
    return validate(target, tmp_path / "report", appliance="pump-station-7", checks=checks)


def test_a_good_appliance_is_valid(target: Target, tmp_path: Path) -> None:
    """All checks pass: the result is valid and the report says so."""
    validation = run(target, tmp_path, folder_of_checks(tmp_path, base=GOOD, engine=GOOD))
    assert validation.valid
    assert {check.area for check in validation.checks} == {"base", "engine"}
    assert {check.name for check in validation.checks} == {"root is there"}
    page = validation.report.read_text()
    assert "2 checks passed, 0 failed" in page
    assert "<h1>pump-station-7</h1>" in page


def test_a_failed_check_is_shown_with_its_reason(target: Target, tmp_path: Path) -> None:
    """One planted fault makes the result invalid, and table and report name it."""
    validation = run(target, tmp_path, folder_of_checks(tmp_path, base=BAD))
    assert not validation.valid
    assert validation.count("failed") == 1
    assert "× base: a planted fault" in table(validation)
    assert "no-such-file" in table(validation)
    assert "no-such-file" in validation.report.read_text()


def test_the_json_form_is_complete(target: Target, tmp_path: Path) -> None:
    """`--output json` tells the result, the counts and every check."""
    told = json.loads(
        json.dumps(run(target, tmp_path, folder_of_checks(tmp_path, base=BAD)).as_json())
    )
    assert (told["result"], told["passed"], told["failed"]) == ("invalid", 1, 1)
    assert {check["result"] for check in told["checks"]} == {"passed", "failed"}


def test_only_marked_checks_run(target: Target, tmp_path: Path) -> None:
    """A folder without appliance checks is an error, not a valid appliance."""
    with pytest.raises(ValidationError, match="no check was selected"):
        run(target, tmp_path, folder_of_checks(tmp_path, base=UNMARKED))


def test_a_missing_folder_is_named(target: Target, tmp_path: Path) -> None:
    """Outside a checkout there are no checks, and the message says what is missing."""
    with pytest.raises(ValidationError, match=r"no checks at .*runs from a checkout"):
        run(target, tmp_path, tmp_path / "nowhere")


def test_ssh_is_pinned(target: Target, tmp_path: Path) -> None:
    """Only the given host key and identity are used, and the configuration is private."""
    run(target, tmp_path, folder_of_checks(tmp_path, base=GOOD))
    config = tmp_path / "report/ssh_config"
    lines = {line.strip() for line in config.read_text().splitlines()}
    assert "StrictHostKeyChecking yes" in lines
    assert f'UserKnownHostsFile "{tmp_path}/known_hosts"' in lines
    assert "IdentitiesOnly yes" in lines
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert f"-F {config}" in (tmp_path / "ssh.log").read_text()


def test_a_machine_that_does_not_answer_fails_every_check(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When ssh cannot connect the checks fail with its words; nothing is valid by default."""
    ssh = tmp_path / "bin/ssh"
    ssh.write_text("#!/bin/sh\necho 'ssh: connect to host: Connection refused' >&2\nexit 255\n")
    validation = run(target, tmp_path, folder_of_checks(tmp_path, base=GOOD))
    assert not validation.valid
    assert "Connection refused" in table(validation)


def test_progress_is_told(target: Target, tmp_path: Path) -> None:
    """Whoever waits learns which area was checked and how far the run is."""
    told: list[str] = []
    checks = folder_of_checks(tmp_path, base=GOOD)
    validate(target, tmp_path / "report", appliance="x", waits_for=told.append, checks=checks)
    assert told == ["the checks of base, 100 % done"]


def test_junit_cases_become_checks() -> None:
    """Area, name and result of a check come from pytest's JUnit file."""
    xml = (
        '<testsuites><testsuite><testcase classname="tests.roles.tpm.test_verify"'
        ' name="test_device_is_there[ssh://appliance]" time="0.5"><skipped message="no TPM"/>'
        "</testcase></testsuite></testsuites>"
    )
    (check,) = checks_of_junit(xml)
    assert (check.area, check.name, check.result) == ("tpm", "device is there", "skipped")
    assert (check.seconds, check.message) == (0.5, "no TPM")
