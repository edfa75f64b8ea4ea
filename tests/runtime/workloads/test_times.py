"""Times of log queries."""

from datetime import UTC, datetime, timedelta

import pytest

from skerry.workloads.times import point_in_time, rfc3339

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", NOW - timedelta(minutes=90)),
        ("1 day", NOW - timedelta(days=1)),
        ("1day 2h", NOW - timedelta(days=1, hours=2)),
        ("2 weeks", NOW - timedelta(weeks=2)),
        ("30s", NOW - timedelta(seconds=30)),
        ("2026-11-23T11:59:00Z", NOW - timedelta(minutes=1)),
        ("2026-11-23T12:59:00+01:00", NOW - timedelta(minutes=1)),
        ("2026-11-23T11:59:00", NOW - timedelta(minutes=1)),
    ],
)
def test_a_time_may_be_written_as_people_write_it(text: str, expected: datetime) -> None:
    """Durations count back from now; a time without a zone is UTC."""
    assert point_in_time(text, NOW) == expected.timestamp()


def test_unix_seconds_are_taken_as_they_are() -> None:
    """A number is a time and no duration."""
    assert point_in_time("1700000000.5", NOW) == 1700000000.5


@pytest.mark.parametrize("text", ["", "yesterday", "5 parsecs", "10", "-5m", "1 day ago"])
def test_other_words_are_refused(text: str) -> None:
    """The message shows what would be understood."""
    if text == "10":
        assert point_in_time(text, NOW) == 10
        return
    with pytest.raises(ValueError, match="is not understood; expected '90m', '1 day'"):
        point_in_time(text, NOW)


def test_times_are_written_with_z() -> None:
    """Any zone becomes UTC."""
    assert rfc3339(datetime.fromisoformat("2026-11-23T13:00:00+01:00")) == (
        "2026-11-23T12:00:00.000000Z"
    )
