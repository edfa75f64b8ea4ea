"""Links: one of an identity, and who waits for one."""

import asyncio
from collections.abc import Mapping

from skerry.heads.links import Links
from skerry.wire.identity import Identity

DEVICE = Identity("d")


class Connection:
    """A link that remembers what it was told."""

    expires_at: float | None = None

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.closed: list[str] = []

    def desired(self, version: int, patch: Mapping[str, object]) -> None: ...

    def messages_waiting(self) -> None: ...

    def identity_changed(self) -> None: ...

    async def call(self, name: str, payload: bytes, timeout_seconds: float) -> tuple[int, bytes]:
        return 200, b""

    def close(self, reason: str) -> None:
        self.closed.append(reason)


def test_a_second_connection_closes_the_first() -> None:
    """The first one's own end does not remove the second."""
    links, first, second = Links(), Connection(DEVICE), Connection(DEVICE)
    links.add(first)
    links.add(second)
    links.remove(first)
    assert first.closed == ["the same identity has connected again"]
    assert links.get(DEVICE) is second


def test_modules_are_links_of_their_own() -> None:
    """Only devices are counted as devices."""
    links = Links()
    for identity in (DEVICE, Identity("d", "m")):
        links.add(Connection(identity))
    assert (len(links), links.count_devices()) == (2, 1)
    assert links.identities() == [DEVICE, Identity("d", "m")]


def test_who_waits_gets_the_link_when_it_comes() -> None:
    """Two wait, one connection answers both."""

    async def scenario() -> None:
        links, link = Links(), Connection(DEVICE)
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(links.wait_for(DEVICE, 5)) for _ in range(2)]
            await asyncio.sleep(0)
            links.add(link)
        assert [task.result() for task in waiting] == [link, link]
        assert await links.wait_for(DEVICE, 0) is link

    asyncio.run(scenario())


def test_who_waits_in_vain_gets_none() -> None:
    """After the time, and at once when there is none."""

    async def scenario() -> None:
        links = Links()
        assert await links.wait_for(DEVICE, 0.01) is None
        assert await links.wait_for(DEVICE, 0) is None

    asyncio.run(scenario())


def test_all_links_end_with_the_server() -> None:
    """Each is told why."""
    links, link = Links(), Connection(DEVICE)
    links.add(link)
    links.close("the lab stops")
    assert link.closed == ["the lab stops"]
