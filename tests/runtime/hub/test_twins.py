"""Twins of the hub's clients while the cloud comes and goes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.figures import unseen
from harness.stores import opened
from skerry.base.log import get_logger
from skerry.heads.links import Links
from skerry.hub.errors import AccessError, OfflineError
from skerry.hub.store.documents import Documents
from skerry.hub.twins import TwinKeeper
from skerry.wire.identity import Identity
from skerry.wire.twins import merge

ONE = Identity("edge", "m")


@dataclass
class Cloud:
    """A client's twin in the cloud; `is_connected` says whether it can be asked."""

    is_connected: bool = True
    desired: dict[str, object] = field(default_factory=lambda: {"$version": 1})
    reported: dict[str, object] = field(default_factory=lambda: {"$version": 1})
    sent: list[Mapping[str, object]] = field(default_factory=list)
    refuses: bool = False

    async def tried(self, seconds: float) -> None: ...

    async def twin(self) -> dict[str, object]:
        if not self.is_connected:
            raise OfflineError("away")
        return {"desired": dict(self.desired), "reported": dict(self.reported)}

    async def report(self, patch: Mapping[str, object]) -> int:
        if not self.is_connected:
            raise OfflineError("away")
        if self.refuses:
            raise AccessError(400, "no")
        self.sent.append(patch)
        version = int(str(self.reported["$version"])) + 1
        self.reported = {**merge(self.reported, patch), "$version": version}
        return version


@dataclass
class Link:
    """A client that hears of its desired properties."""

    identity: Identity = ONE
    expires_at: float | None = None
    told: list[tuple[int, Mapping[str, object]]] = field(default_factory=list)

    def desired(self, version: int, patch: Mapping[str, object]) -> None:
        self.told.append((version, patch))

    def messages_waiting(self) -> None: ...

    def identity_changed(self) -> None: ...

    async def call(self, name: str, payload: bytes, timeout_seconds: float) -> tuple[int, bytes]:
        raise AssertionError

    def close(self, reason: str) -> None: ...


@dataclass
class Scene:
    """Twins on a store, with one client."""

    documents: Documents
    cloud: Cloud = field(default_factory=Cloud)
    link: Link = field(default_factory=Link)

    def play(self, act: Callable[[TwinKeeper], Awaitable[Any]]) -> Any:
        """Run something on a loop, and what comes of it."""

        async def run() -> Any:
            links = Links()
            links.add(self.link)
            keeper = TwinKeeper(
                self.documents, lambda _: self.cloud, links, unseen(), get_logger("hub")
            )
            result = await act(keeper)
            async with asyncio.timeout(10):
                await keeper.settled()
            await keeper.stop()
            return result

        return asyncio.run(run())


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


@contextmanager
def scene_in(folder: Path) -> Iterator[Scene]:
    with opened(folder / "store") as store:
        yield Scene(store.documents)


def test_what_was_reported_without_the_cloud_is_sent_as_one_patch(scene: Scene) -> None:
    """After a restart too, with what was removed; the client sees its own state all the time."""
    scene.cloud.reported = {"$version": 4, "old": 1, "inner": {"x": 1, "y": 2}}
    scene.play(lambda keeper: keeper.document(ONE))
    scene.cloud.is_connected = False

    async def report(keeper: TwinKeeper) -> Mapping[str, object]:
        assert await keeper.report(ONE, {"old": None, "inner": {"x": 5}}) == 5
        assert await keeper.report(ONE, {"new": [1], "inner": {"y": None}}) == 6
        return await keeper.document(ONE)

    assert scene.play(report)["reported"] == {"$version": 6, "inner": {"x": 5}, "new": [1]}
    scene.cloud.is_connected = True

    async def come_back(keeper: TwinKeeper) -> None:
        keeper.connected(ONE)

    scene.play(come_back)
    assert scene.cloud.sent == [{"old": None, "inner": {"x": 5, "y": None}, "new": [1]}]
    scene.play(come_back)
    assert len(scene.cloud.sent) == 1


def test_the_next_version_is_passed_on_and_a_gap_is_read(scene: Scene) -> None:
    """The client is told the difference; what is old tells nothing."""
    scene.play(lambda keeper: keeper.document(ONE))

    async def change(keeper: TwinKeeper) -> None:
        keeper.desired(ONE, 2, {"a": 1, "$version": 2})
        keeper.desired(ONE, 1, {"a": 0, "$version": 1})

    scene.play(change)
    assert scene.link.told == [(2, {"a": 1})]
    scene.cloud.desired = {"b": 2, "$version": 5}

    async def jump(keeper: TwinKeeper) -> None:
        keeper.desired(ONE, 5, {"c": 1, "$version": 5})

    scene.play(jump)
    assert scene.link.told[1:] == [(5, {"a": None, "b": 2})]


def test_what_a_twin_cannot_hold_is_refused(scene: Scene) -> None:
    """With the status that the cloud would give; nothing is kept."""

    async def report(keeper: TwinKeeper) -> None:
        with pytest.raises(AccessError, match="expected a JSON object") as refused:
            await keeper.report(ONE, [])
        assert refused.value.status == 400
        with pytest.raises(AccessError, match="more than 32768 bytes") as refused:
            await keeper.report(ONE, {f"n{n}": "x" * 4000 for n in range(9)})
        assert refused.value.status == 413

    scene.play(report)
    assert scene.cloud.sent == []


def test_what_the_cloud_refuses_is_not_sent_for_ever(scene: Scene) -> None:
    """It is logged, and later patches go."""
    scene.cloud.refuses = True
    scene.play(lambda keeper: keeper.report(ONE, {"a": 1}))
    scene.cloud.refuses = False
    scene.play(lambda keeper: keeper.report(ONE, {"b": 1}))
    assert scene.cloud.sent == [{"b": 1}]


def test_a_client_that_the_cloud_was_never_asked_about(scene: Scene) -> None:
    """Without the cloud it has an empty twin."""
    scene.cloud.is_connected = False
    empty = {"desired": {"$version": 0}, "reported": {"$version": 0}}
    assert scene.play(lambda keeper: keeper.document(ONE)) == empty
