"""Validation: the checks of a folder run against an appliance over SSH, and what is reported."""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
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


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """PATH starts with an ssh and a sudo that run the command here."""
    folder = tmp_path_factory.mktemp("bin")
    for name, text in (("ssh", SSH), ("sudo", SUDO)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        environment.setenv("SSH_LOG", str(folder / "ssh.log"))
        yield folder


def target(folder: Path) -> Target:
    return Target("127.0.0.1", 2222, "tech", folder / "id", folder / "known_hosts")


def folder_of_checks(folder: Path, **areas: str) -> Path:
    for area, text in areas.items():
        (folder / "checks" / area).mkdir(parents=True)
        (folder / "checks" / area / "test_verify.py").write_text(text)
    return folder / "checks"


def run(folder: Path, checks: Path, told: list[str] | None = None) -> Validation:
    waits_for = (told if told is not None else []).append
    report = folder / "report"
    name = "pump-station-7"
    return validate(target(folder), report, appliance=name, waits_for=waits_for, checks=checks)


@dataclass(frozen=True)
class Ran:
    folder: Path
    validation: Validation
    told: list[str]


@pytest.fixture(scope="module")
def good(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A validation in which all checks pass."""
    folder, told = tmp_path_factory.mktemp("good"), list[str]()
    return Ran(folder, run(folder, folder_of_checks(folder, base=GOOD, engine=GOOD), told), told)


@pytest.fixture(scope="module")
def bad(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A validation with one planted fault."""
    folder = tmp_path_factory.mktemp("bad")
    return Ran(folder, run(folder, folder_of_checks(folder, base=BAD)), [])


def test_a_good_appliance_is_valid(good: Ran) -> None:
    """All checks pass: the result is valid and the report says so."""
    validation = good.validation
    assert validation.valid
    assert {check.area for check in validation.checks} == {"base", "engine"}
    assert {check.name for check in validation.checks} == {"root is there"}
    page = validation.report.read_text()
    assert "2 checks passed, 0 failed" in page
    assert "<h1>pump-station-7</h1>" in page


def test_a_failed_check_is_shown_with_its_reason(bad: Ran) -> None:
    """One planted fault makes the result invalid, and table and report name it."""
    assert not bad.validation.valid
    assert bad.validation.count("failed") == 1
    assert "× base: a planted fault" in table(bad.validation)
    assert "no-such-file" in table(bad.validation)
    assert "no-such-file" in bad.validation.report.read_text()


def test_the_json_form_is_complete(bad: Ran) -> None:
    """`--output json` tells the result, the counts and every check."""
    told = json.loads(json.dumps(bad.validation.as_json()))
    assert (told["result"], told["passed"], told["failed"]) == ("invalid", 1, 1)
    assert {check["result"] for check in told["checks"]} == {"passed", "failed"}


def test_ssh_is_pinned(good: Ran, programs: Path) -> None:
    """Only the given host key and identity are used, and the configuration is private."""
    config = good.folder / "report/ssh_config"
    lines = {line.strip() for line in config.read_text().splitlines()}
    assert "StrictHostKeyChecking yes" in lines
    assert f'UserKnownHostsFile "{good.folder}/known_hosts"' in lines
    assert "IdentitiesOnly yes" in lines
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert f"-F {config}" in (programs / "ssh.log").read_text()


def test_progress_is_told(good: Ran) -> None:
    """Whoever waits learns which area is checked."""
    assert good.told == ["the checks of base", "the checks of engine"]


def test_only_marked_checks_run(programs: Path, tmp_path: Path) -> None:
    """A folder without appliance checks is an error, not a valid appliance."""
    with pytest.raises(ValidationError, match="no check was selected"):
        run(tmp_path, folder_of_checks(tmp_path, base=UNMARKED))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """Outside a checkout there are no checks, and the message says what is missing."""
    with pytest.raises(ValidationError, match=r"no checks at .*runs from a checkout"):
        run(tmp_path, tmp_path / "nowhere")


def test_a_machine_that_does_not_answer_fails_every_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When ssh cannot connect the checks fail with its words; nothing is valid by default."""
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho 'ssh: connect to host: Connection refused' >&2\nexit 255\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    validation = run(tmp_path, folder_of_checks(tmp_path, base=GOOD))
    assert not validation.valid
    assert "Connection refused" in table(validation)


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
