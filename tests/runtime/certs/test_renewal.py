"""When a certificate is renewed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.base.errors import SettingsError
from skerry.certs.renewal import Life, RenewalPolicy, Span, parse_policy, parse_span

START = datetime(2026, 1, 1, tzinfo=UTC)
LIFE = Life(START, START + timedelta(days=100))
DEFAULT = RenewalPolicy()

spans = st.one_of(
    st.integers(1, 99).map(Span),
    st.timedeltas(timedelta(minutes=1), timedelta(days=36500)).map(lambda time: Span(None, time)),
)
policies = st.builds(RenewalPolicy, st.booleans(), spans, spans)
lives = st.timedeltas(timedelta(minutes=30), timedelta(days=7300)).map(
    lambda length: Life(START, START + length)
)


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("80%", timedelta(days=80)),
        ("1%", timedelta(days=1)),
        ("10day", timedelta(days=90)),
        ("10d", timedelta(days=90)),
        ("36h", timedelta(days=98, hours=12)),
        ("30min", timedelta(days=100, minutes=-30)),
        ("30m", timedelta(days=100, minutes=-30)),
        ("400day", timedelta(days=50)),
    ],
)
def test_a_threshold_is_a_share_of_the_life_or_a_time_before_its_end(
    text: str, due: timedelta
) -> None:
    """A time longer than the life means its middle."""
    policy = parse_policy({"threshold": text}, "auto_renew")
    assert policy.due(LIFE) - START == due


@pytest.mark.parametrize("text", ["0%", "100%", "101%", "10", "day", "1year", "-1day", "1 day", ""])
def test_other_spans_are_refused(text: str) -> None:
    """The message has the key, the value and what would be understood."""
    with pytest.raises(SettingsError, match=f"a.retry is '{text}', expected a share such as '80%'"):
        parse_policy({"retry": text}, "a")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (80, "a is 80, expected a table"),
        ({"rotate_key": "yes"}, "a.rotate_key is 'yes', expected true or false"),
        ({"threshold": 80}, "a.threshold is 80"),
        ({"threshold": "99999999day"}, "a.threshold is '99999999day'"),
    ],
)
def test_other_tables_are_refused(table: object, message: str) -> None:
    """Every key is named."""
    with pytest.raises(SettingsError) as caught:
        parse_policy(table, "a")
    assert message in str(caught.value)


def test_an_empty_table_is_upstream_s_default() -> None:
    """80 %, 4 %, a new key."""
    assert parse_policy({}, "a") == RenewalPolicy(True, Span(80), Span(4))
    assert parse_span("4%", "a").of(timedelta(days=100)) == timedelta(days=4)


def test_tries_follow_each_other_by_the_pause() -> None:
    """At 80, 84, 88, 92, 96 and, as it ends, 100 days; five minutes apart from then on."""
    at, tries = DEFAULT.due(LIFE), []
    for _ in range(8):
        tries.append(at - START)
        at = DEFAULT.next_try(LIFE, at)
    assert [span.days for span in tries[:6]] == [80, 84, 88, 92, 96, 100]
    assert tries[7] - tries[6] == timedelta(minutes=5)


def test_a_failure_before_the_certificate_came_counts_for_nothing() -> None:
    """What failed was the renewal of an earlier one."""
    assert DEFAULT.next_try(LIFE, START - timedelta(days=1)) == DEFAULT.due(LIFE)


def test_a_certificate_from_the_future_is_due() -> None:
    """It was issued while the clock was ahead; a try that failed is not repeated at once."""
    before = START - timedelta(days=1)
    assert DEFAULT.is_due(LIFE, before)
    assert not DEFAULT.is_due(LIFE, before, before - timedelta(minutes=1))
    assert DEFAULT.is_due(LIFE, before, before - timedelta(minutes=5))
    assert DEFAULT.is_due(LIFE, before, before + timedelta(days=9))


@given(policies, lives)
def test_a_certificate_is_due_within_its_life(policy: RenewalPolicy, life: Life) -> None:
    """Never before it begins, and always before it ends."""
    due = policy.due(life)
    assert life.start < due < life.end
    assert policy.is_due(life, due)
    assert not policy.is_due(life, life.start)


@given(policies, lives, st.integers(0, 200))
def test_tries_never_stop_and_never_rush(policy: RenewalPolicy, life: Life, number: int) -> None:
    """Each comes a minute after the last at least, and one at the end of the life at the latest."""
    at = policy.due(life)
    for _ in range(number):
        following = policy.next_try(life, at)
        assert following - at >= timedelta(minutes=1) or following == life.end
        if at < life.end - timedelta(minutes=5):
            assert following <= life.end
        at = following
