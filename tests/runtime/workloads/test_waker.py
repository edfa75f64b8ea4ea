"""edged wakes services that sleep when their deadlines come, at an injected time."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from harness.clock import MovableClock
from harness.edged import until
from skerry.base.client import UnreachableError
from skerry.base.log import get_logger
from skerry.base.upkeep import rfc3339
from skerry.workloads.waker import Waker

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@dataclass
class Sleeper:
    """A service that answers with its deadline."""

    clock: MovableClock
    at: datetime | None = None
    answer: object = None
    away: bool = False
    asked: list[datetime] = field(default_factory=list)

    def get(self, path: str) -> object:
        assert path == "/deadline"
        self.asked.append(self.clock.now())
        if self.away:
            raise UnreachableError("no answer")
        if self.answer is not None:
            return self.answer
        return {"at": None if self.at is None else rfc3339(self.at), "reason": "renewal"}


@dataclass
class House:
    """Two services and edged's waker; `configuration` is the one in force."""

    clock: MovableClock = field(default_factory=MovableClock)
    configuration: str = "1"

    def __post_init__(self) -> None:
        self.certd, self.identityd = Sleeper(self.clock), Sleeper(self.clock)
        services = {"certd": self.certd, "identityd": self.identityd}
        self.waker = Waker(services, lambda: self.configuration, self.clock, get_logger("edged"))

    def pass_time(self, span: timedelta, step: timedelta = MINUTE) -> None:
        """Let time pass, with a look as often as edged has one."""
        for _ in range(int(span / step)):
            self.clock.move(step)
            self.waker.look()


def test_everybody_is_asked_at_the_start_and_left_alone_until_the_deadline() -> None:
    """Then it is asked, which starts it."""
    house = House()
    house.certd.at = house.clock.now() + 3 * HOUR
    house.waker.look()
    house.pass_time(3 * HOUR - MINUTE)
    assert (len(house.certd.asked), len(house.identityd.asked)) == (1, 1)
    house.pass_time(MINUTE)
    assert len(house.certd.asked) == 2


def test_a_service_that_works_is_asked_for_the_next_deadline_a_minute_later() -> None:
    """And so are the others: its work may have given them some."""
    house = House()
    house.certd.at = house.clock.now() + HOUR
    house.waker.look()
    house.pass_time(HOUR)
    house.certd.at = house.clock.now() + HOUR
    house.pass_time(2 * MINUTE)
    assert (len(house.certd.asked), len(house.identityd.asked)) == (3, 2)
    house.pass_time(HOUR / 2)
    assert (len(house.certd.asked), len(house.identityd.asked)) == (3, 2)


def test_a_clock_that_jumps_ahead_wakes_at_once() -> None:
    """A device that slept, or whose clock was set."""
    house = House()
    house.identityd.at = house.clock.now() + 300 * 24 * HOUR
    house.waker.look()
    house.clock.move(301 * 24 * HOUR)
    house.waker.look()
    assert len(house.identityd.asked) == 2


def test_a_clock_that_jumps_back_asks_anew() -> None:
    """The answers were given under another clock."""
    house = House()
    house.waker.look()
    house.clock.move(-HOUR)
    house.waker.look()
    assert len(house.certd.asked) == len(house.identityd.asked) == 2


def test_an_answer_is_believed_for_a_day() -> None:
    """A service may have been given work by somebody else."""
    house = House()
    house.waker.look()
    house.pass_time(24 * HOUR - MINUTE)
    assert len(house.certd.asked) == 1
    house.pass_time(MINUTE)
    assert len(house.certd.asked) == 2


def test_a_new_configuration_is_a_reason_to_ask() -> None:
    """Both, within a minute."""
    house = House()
    house.waker.look()
    house.configuration = "2"
    house.pass_time(MINUTE)
    assert len(house.certd.asked) == len(house.identityd.asked) == 2


def test_a_service_that_is_away_is_asked_again_in_a_minute() -> None:
    """Until it answers."""
    house = House()
    house.certd.away = True
    house.waker.look()
    house.pass_time(3 * MINUTE)
    assert (len(house.certd.asked), len(house.identityd.asked)) == (4, 1)
    house.certd.away = False
    house.pass_time(9 * MINUTE)
    assert len(house.certd.asked) == 5


@pytest.mark.parametrize(
    "answer", [[], {}, {"at": 5}, {"at": "soon"}, {"at": "2020-01-01T00:00:00"}, "x"]
)
def test_an_answer_that_is_none_does_not_stop_the_waker(answer: object) -> None:
    """It counts as no deadline."""
    house = House()
    house.certd.answer = answer
    house.waker.look()
    house.pass_time(10 * MINUTE)
    assert len(house.certd.asked) == 1


def test_the_thread_asks_at_its_start_and_when_told() -> None:
    """And ends when it shall."""
    house = House()
    house.waker.start()
    until(lambda: house.identityd.asked, "the first question")
    house.waker.ask_again()
    until(lambda: len(house.identityd.asked) == 2, "the second question")
    house.waker.stop(10)
    house.waker.ask_again()
    assert len(house.identityd.asked) == 2
