"""Containers are inspected once, and again when the engine's list says that they changed."""

import pytest

from skerry.engine.errors import EngineNotFoundError
from skerry.engine.model import Container, Engine, State
from skerry.workloads.seen import Seen


class Listing:
    """An engine with marks; `inspected` are those that were asked for one by one."""

    def __init__(self, **marks: str) -> None:
        self.listed = marks
        self.gone: set[str] = set()
        self.inspected: list[str] = []

    def marks(self, _label: str) -> dict[str, str]:
        return dict(self.listed)

    def inspect(self, name: str) -> Container:
        if name in self.gone:
            raise EngineNotFoundError(name)
        self.inspected.append(name)
        return Container(
            name, name, "i", "sha256:0", {}, State("running", 0, None, None, "", ""), False
        )


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def names(seen: Seen) -> list[str]:
    """Return what is listed."""
    return [container.name for container in seen.all("owner=us")]


def made(engine: Listing, time: Time) -> Seen:
    """Return what asks a listing."""
    engine_: Engine = engine  # type: ignore[assignment]  # the two calls that count
    return Seen(engine_, time)


def test_what_has_the_same_mark_is_not_asked_for_again(time: Time) -> None:
    """For as long as somebody looks at least every 30 s."""
    engine = Listing(b="up 2 minutes", a="up 5 minutes")
    seen = made(engine, time)
    for _ in range(5):
        assert names(seen) == ["a", "b"]
        time.now += 29
    assert sorted(engine.inspected) == ["a", "b"]
    time.now += 2
    names(seen)
    assert len(engine.inspected) == 4


def test_another_mark_or_none_is_asked_for(time: Time) -> None:
    """A young container has none."""
    engine = Listing(a="up 5 minutes", b="")
    seen = made(engine, time)
    names(seen)
    engine.listed["a"] = "exited 1 minute ago"
    names(seen)
    assert engine.inspected == ["a", "b", "a", "b"]


def test_what_goes_meanwhile_is_left_out(time: Time) -> None:
    """Between the list and the question."""
    engine = Listing(a="", b="")
    engine.gone.add("a")
    assert names(made(engine, time)) == ["b"]
