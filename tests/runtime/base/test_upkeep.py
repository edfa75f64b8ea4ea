"""Jobs with deadlines: done in time, tried again, remembered over restarts, told to edged."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from harness.clock import MovableClock
from skerry.base.errors import SkerryError
from skerry.base.log import get_logger
from skerry.base.upkeep import Upkeep, as_json

HOUR = timedelta(hours=1)


@dataclass
class Chore:
    """Done every hour; fails while it has `trouble`, and is tried again after ten minutes."""

    clock: MovableClock
    name: str = "chore"
    done: list[datetime] = field(default_factory=list)
    trouble: Exception | None = None
    unknown: bool = False
    last: datetime | None = None
    performed: threading.Event = field(default_factory=threading.Event)

    def due(self, failed_at: datetime | None) -> datetime | None:
        if self.unknown:
            raise SkerryError("no idea")
        if self.last is None:
            return None
        return self.last + HOUR if failed_at is None else failed_at + HOUR / 6

    def perform(self) -> None:
        self.done.append(self.clock.now())
        self.performed.set()
        if self.trouble is not None:
            raise self.trouble
        self.last = self.clock.now()


@pytest.fixture
def clock() -> MovableClock:
    """Time that the test moves."""
    return MovableClock()


def upkeep_of(folder: Path, clock: MovableClock, *chores: Chore) -> Upkeep:
    """Return the upkeep of a newly started service."""
    made = Upkeep(folder, clock, get_logger("test"))
    for chore in chores:
        made.add(chore)
    return made


def stored(folder: Path) -> dict[str, object] | None:
    """Return what the deadline file says."""
    file = folder / "deadline.json"
    found: dict[str, object] | None = json.loads(file.read_text()) if file.exists() else None
    return found


def test_a_service_with_nothing_to_do_has_no_deadline(tmp_path: Path, clock: MovableClock) -> None:
    """And no file."""
    upkeep = upkeep_of(tmp_path, clock, Chore(clock))
    assert upkeep.run_due() is None
    assert as_json(upkeep.deadline()) == {"at": None, "reason": None}
    assert stored(tmp_path) is None


def test_what_is_due_is_done_and_the_next_time_stored(tmp_path: Path, clock: MovableClock) -> None:
    """The file has the time with Z, the reason, and is readable by all."""
    chore = Chore(clock, last=clock.now())
    upkeep = upkeep_of(tmp_path, clock, chore)
    upkeep.run_due()
    assert chore.done == []
    clock.move(HOUR)
    upkeep.run_due()
    assert chore.done == [clock.now()]
    at = (clock.now() + HOUR).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert stored(tmp_path) == {"at": at, "reason": "chore", "failed": {}}
    assert as_json(upkeep.deadline()) == {"at": at, "reason": "chore"}
    assert (tmp_path / "deadline.json").stat().st_mode & 0o777 == 0o644


def test_the_earliest_deadline_counts(tmp_path: Path, clock: MovableClock) -> None:
    """Of several jobs."""
    late, early = Chore(clock, "late", last=clock.now()), Chore(clock, "early")
    early.last = clock.now() - HOUR / 2
    deadline = upkeep_of(tmp_path, clock, late, early).run_due()
    assert deadline is not None
    assert deadline.reason == "early"


@pytest.mark.parametrize("trouble", [SkerryError("refused"), OSError("disk full")])
def test_a_failure_outlives_the_process(
    tmp_path: Path, clock: MovableClock, trouble: Exception
) -> None:
    """A restart is no reason to try before the pause is over; success forgets it."""
    chore = Chore(clock, last=clock.now() - 2 * HOUR, trouble=trouble)
    upkeep_of(tmp_path, clock, chore).run_due()
    clock.move(HOUR / 12)
    upkeep = upkeep_of(tmp_path, clock, chore)
    upkeep.run_due()
    assert len(chore.done) == 1
    clock.move(HOUR / 12)
    chore.trouble = None
    upkeep.run_due()
    assert len(chore.done) == 2
    assert stored(tmp_path) is not None
    assert (stored(tmp_path) or {})["failed"] == {}


def test_a_failure_in_the_future_counts_for_nothing(tmp_path: Path, clock: MovableClock) -> None:
    """The clock was set back."""
    chore = Chore(clock, last=clock.now() - 2 * HOUR, trouble=SkerryError("refused"))
    upkeep_of(tmp_path, clock, chore).run_due()
    clock.move(-HOUR / 2)
    upkeep_of(tmp_path, clock, chore).run_due()
    assert len(chore.done) == 2


def test_a_job_that_is_always_due_does_not_run_away(tmp_path: Path, clock: MovableClock) -> None:
    """A minute passes between two runs."""
    chore = Chore(clock, last=clock.now() - 9 * HOUR)
    upkeep = upkeep_of(tmp_path, clock, chore)
    for _ in range(5):
        upkeep.run_due()
        chore.last = clock.now() - 9 * HOUR
    assert len(chore.done) == 1
    clock.move(timedelta(minutes=1))
    upkeep.run_due()
    assert len(chore.done) == 2


def test_a_job_that_cannot_tell_is_asked_again_in_a_minute(
    tmp_path: Path, clock: MovableClock
) -> None:
    """keyd may be away, say."""
    chore = Chore(clock, unknown=True)
    deadline = upkeep_of(tmp_path, clock, chore).run_due()
    assert deadline is not None
    assert deadline.at == clock.now() + timedelta(minutes=1)
    assert chore.done == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"failed": {"chore": "x"}}', '{"failed": 5}'])
def test_a_broken_file_costs_one_try(tmp_path: Path, clock: MovableClock, content: str) -> None:
    """It is replaced."""
    (tmp_path / "deadline.json").write_text(content)
    chore = Chore(clock, last=clock.now() - HOUR)
    upkeep_of(tmp_path, clock, chore).run_due()
    assert len(chore.done) == 1


def test_a_full_disk_stops_no_job(tmp_path: Path, clock: MovableClock) -> None:
    """The deadline is still told; only the file is missing."""
    chore = Chore(clock, last=clock.now() - HOUR)
    upkeep = upkeep_of(tmp_path / "away", clock, chore)
    deadline = upkeep.run_due()
    assert len(chore.done) == 1
    assert deadline is not None


def test_the_thread_does_what_is_due_and_looks_again_when_told(
    tmp_path: Path, clock: MovableClock
) -> None:
    """The service counts as busy meanwhile, so that it does not exit in the middle."""
    busy: list[str] = []
    rested = threading.Event()

    @contextlib.contextmanager
    def scope() -> Iterator[None]:
        busy.append("in")
        yield
        busy.append("out")
        rested.set()

    chore = Chore(clock, last=clock.now() - HOUR)
    upkeep = upkeep_of(tmp_path, clock, chore)
    upkeep.start(scope)
    assert upkeep.deadline(10) is not None
    assert chore.performed.wait(10)
    assert rested.wait(10)  # when it was done is noted by the time it is now
    chore.performed.clear()
    clock.move(2 * HOUR)
    upkeep.changed()
    assert chore.performed.wait(10)
    upkeep.stop(10)
    assert busy[:4] == ["in", "out", "in", "out"]


def test_a_stopped_service_begins_no_job(tmp_path: Path, clock: MovableClock) -> None:
    """What is due then is done after the next start."""
    chore = Chore(clock, last=clock.now() - HOUR)
    upkeep = upkeep_of(tmp_path, clock, chore)
    upkeep.stop()
    upkeep.run_due()
    assert chore.done == []
