"""Log lines and secrets."""

import json
from datetime import UTC, datetime

import pytest

from skerry.base.log import STEP_MARK, Secret, get_logger, setup, step


class FixedClock:
    """A clock that moves by one second per reading."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        self._seconds += 1
        return self._seconds


def test_line_has_priority_message_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """Fields follow the message; values with spaces are quoted."""
    setup("testd")
    get_logger("testd").warning("module stopped", module="modbus", reason="exit 1: no port")
    assert capsys.readouterr().err == ('<4>module stopped module=modbus reason="exit 1: no port"\n')


def test_level_comes_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SKERRY_LOG=error silences what is less than an error."""
    monkeypatch.setenv("SKERRY_LOG", "error")
    setup("testd")
    get_logger("testd").info("not shown")
    get_logger("testd").error("shown")
    assert capsys.readouterr().err == "<3>shown\n"


def test_unknown_level_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong level warns and leaves the default in force."""
    monkeypatch.setenv("SKERRY_LOG", "loud")
    setup("testd")
    assert "SKERRY_LOG is not a level value=loud" in capsys.readouterr().err


def test_exception_keeps_the_priority_on_each_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The journal must not read a traceback line as less than an error."""
    setup("testd")
    try:
        int("inside")
    except ValueError:
        get_logger("testd").exception("request failed")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 2
    assert all(line.startswith("<3>") for line in lines)


def test_secret_shows_only_when_asked() -> None:
    """A secret prints as stars in every way of formatting."""
    secret = Secret("swordfish")
    assert f"{secret} {secret!r} {secret:>5} %s" % secret == "*** *** *** ***"
    assert secret.reveal() == "swordfish"
    assert secret == "swordfish"


def test_step_is_one_parseable_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The timeline line carries service, step, duration and details as JSON."""
    setup("testd")
    with step(get_logger("testd"), FixedClock(), "testd", "identity", device="pump"):
        pass
    record = json.loads(capsys.readouterr().err.partition(STEP_MARK)[2])
    assert record == {
        "time": "2026-01-01T00:00:00.000+00:00",
        "service": "testd",
        "step": "identity",
        "seconds": 1.0,
        "detail": {"device": "pump"},
    }
