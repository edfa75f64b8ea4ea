"""`skerry status` and `skerry list` on a machine whose systemd and journal are faked on PATH."""

import json
import os
from pathlib import Path

import pytest

from skerry.cli.main import run

SYSTEMCTL = """#!/bin/sh
case "$*" in
  *skerry-keyd.service) printf 'LoadState=loaded\\nActiveState=inactive\\nExecMainStatus=0\\n' ;;
  *skerry-certd.service) printf 'LoadState=loaded\\nActiveState=failed\\nExecMainStatus=153\\n' ;;
  *skerry-tpmd.service) printf 'LoadState=not-found\\nActiveState=inactive\\n' ;;
  *skerry-identityd.service) printf 'LoadState=loaded\\nActiveState=inactive\\n' ;;
  *skerry-edged.service) printf 'LoadState=loaded\\nActiveState=active\\n' ;;
  *skerry-keyd.socket) echo active ;;
  *skerry-identityd.socket) echo inactive ;;
esac
"""

STEP = '{"time": "%s", "service": "%s", "step": "%s", "seconds": %s, "detail": {}}'
JOURNAL = "\n".join(
    [
        "edged: started",
        "SKERRY_STEP " + STEP % ("2026-11-23T11:00:02+00:00", "edged", "identity", 1.25),
        "SKERRY_STEP " + STEP % ("2026-11-23T11:00:01+00:00", "identityd", "device key", 0.5),
        "SKERRY_STEP not JSON",
    ]
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing but fakes, and no edged."""
    program(tmp_path, "systemctl", SYSTEMCTL)
    program(tmp_path, "journalctl", f"#!/bin/sh\ncat {tmp_path / 'journal'}\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SKERRY_HOST", f"unix://{tmp_path / 'mgmt.sock'}")
    return tmp_path


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def test_status_names_the_state_of_every_service(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Waiting for a call, failed, absent, stopped and running are told apart; a failure exits 1."""
    assert run(["status", "--output", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["services"] == {
        "keyd": "ready",
        "certd": "failed (153)",
        "tpmd": "not installed",
        "identityd": "stopped",
        "edged": "running",
    }
    assert answer["modules"] == []
    assert "see: systemctl status skerry-edged" in answer["problem"]


def test_status_shows_the_services_although_edged_does_not_answer(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is known is printed; what failed is said on standard error."""
    assert run(["status"]) == 1
    printed = capsys.readouterr()
    assert "keyd        ready          service\n" in printed.out
    assert "deployment  unknown        the agent has not reported yet\n" in printed.out
    assert "mgmt.sock: " in printed.err


def test_the_timeline_is_the_journal_s_steps_by_time(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines that are no step, or a broken one, are passed over."""
    (machine / "journal").write_text(JOURNAL)
    assert run(["status", "--timeline"]) == 0
    assert capsys.readouterr().out == (
        "TIME                       SERVICE    STEP        SECONDS\n"
        "2026-11-23T11:00:01+00:00  identityd  device key  0.5 s\n"
        "2026-11-23T11:00:02+00:00  edged      identity    1.25 s\n"
    )


def test_a_journal_without_steps_says_what_to_try(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """People without the right to read the journal see nothing in it."""
    (machine / "journal").write_text("")
    assert run(["status", "--timeline"]) == 0
    hint = "nothing has started yet" if os.geteuid() == 0 else "try it with sudo"
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["list"], ["logs", "pump"], ["restart", "pump"]])
def test_an_absent_edged_is_one_line_with_the_remedy(
    machine: Path, verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, nothing on standard output, the unit to look at on standard error."""
    assert run(verb) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"skerry: no answer on {machine / 'mgmt.sock'}: [Errno 2] No such file or directory; "
        "see: systemctl status skerry-edged, journalctl -u skerry-edged\n"
    )


def test_a_host_that_is_no_unix_socket_is_refused(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The management API is local only."""
    monkeypatch.setenv("SKERRY_HOST", "http://elsewhere")
    assert run(["list"]) == 1
    assert "SKERRY_HOST is 'http://elsewhere', expected unix:///" in capsys.readouterr().err
