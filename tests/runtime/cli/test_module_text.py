"""What people read about modules: ages, states, columns."""

from datetime import UTC, datetime, timedelta

import pytest

from skerry.cli._text import age, by_name, columns, row

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 seconds"),
        (0, "0 seconds"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (3599, "59 minutes"),
        (7200, "2 hours"),
        (86400 * 30, "30 days"),
    ],
)
def test_an_age_is_in_its_largest_unit(seconds: int, text: str) -> None:
    """A clock that was set back gives no negative age."""
    assert age(timedelta(seconds=seconds)) == text


def details(status: dict[str, object]) -> dict[str, object]:
    return {"name": "pump", "config": {"settings": {"image": "x/pump:1"}}, "status": status}


@pytest.mark.parametrize(
    ("status", "description"),
    [
        pytest.param(
            {"startTime": "2026-11-23T11:57:00.5Z", "runtimeStatus": {"status": "running"}},
            "Up 2 minutes",
            id="running",
        ),
        pytest.param(
            {
                "exitStatus": {"exitTime": "2026-11-23T11:59:55Z", "statusCode": "137"},
                "runtimeStatus": {"status": "failed"},
            },
            "Failed (137) 5 seconds ago",
            id="failed",
        ),
        pytest.param(
            {
                "exitStatus": {"exitTime": "2026-11-23T10:00:00Z", "statusCode": "0"},
                "runtimeStatus": {"status": "stopped"},
            },
            "Stopped 2 hours ago",
            id="stopped",
        ),
        pytest.param({"runtimeStatus": {"status": "stopped"}}, "Not started yet", id="created"),
        pytest.param({"runtimeStatus": {"status": "dead"}}, "Dead", id="dead"),
    ],
)
def test_a_state_reads_as_a_sentence(status: dict[str, object], description: str) -> None:
    """Each state of the management API has words of its own."""
    found = row(details(status), NOW)
    assert (found.name, found.image, found.description) == ("pump", "x/pump:1", description)


def test_columns_are_as_wide_as_their_widest_entry() -> None:
    """Columns line up, and no line ends with blanks."""
    text = columns(("NAME", "STATUS"), [("sample-sensor", "running"), ("a", "")])
    assert text == "NAME           STATUS\nsample-sensor  running\na\n"


def test_modules_are_listed_by_name() -> None:
    """The order does not depend on the engine."""
    assert by_name([{"name": "b"}, {"name": "a"}]) == [{"name": "a"}, {"name": "b"}]
