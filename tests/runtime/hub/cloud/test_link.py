"""The hub's connections to the cloud: renewed with their tokens, refused, and given up on."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from harness.edge_hub import HUB, EdgeHub, populate
from harness.edged import until
from harness.figures import unseen
from skerry.base.clock import SystemClock
from skerry.base.log import get_logger
from skerry.heads.links import Links
from skerry.hub.cloud.clients import CloudClients
from skerry.hub.cloud.link import CloudLink, Upstream
from skerry.hub.errors import AccessError, OfflineError
from skerry.wire.identity import Identity
from skerry.wire.sas import FreshToken
from skerry.wire.topics import events_topic
from skerry_lab.messages.model import Event
from skerry_lab.server import Lab

LEAF = Identity("leaf")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A cloud with an edge device, its modules and a leaf."""
    with Lab(tmp_path / "lab") as running:
        populate(running)
        yield running


def arrived(lab: Lab) -> list[Event]:
    return lab.store.do(lambda cloud: list(cloud.messages.read(0, 10_000, 10_000_000)))


def test_a_connection_is_renewed_before_its_token_ends(lab: Lab, tmp_path: Path) -> None:
    """Messages under way are waited for: none is lost, none comes twice."""
    with EdgeHub(tmp_path / "hub", lab, token_seconds=2.0) as hub:
        hub.until_ready()
        sent = 0
        with hub.device(LEAF) as client:
            assert client.connect().code == 0
            first = None
            renewals = 0
            while renewals < 2:
                client.publish(events_topic("leaf"), str(sent).encode())
                sent += 1
                link = lab.live.links.get(LEAF)
                if link is not None and link is not first:
                    renewals += first is not None
                    first = link
        until(lambda: len(arrived(lab)) >= sent, "all have arrived")
        bodies = [event.telemetry.body.decode() for event in arrived(lab)]
        assert bodies == [str(n) for n in range(sent)]


def test_without_a_connection_everything_is_told_at_once(lab: Lab, tmp_path: Path) -> None:
    """Nobody waits for a cloud that is away."""
    with EdgeHub(tmp_path / "hub", lab) as hub:
        hub.until_ready()
        lab.stop()
        link = hub.cloud.get(HUB)
        until(lambda: not link.is_connected, "the connection has ended")
        with pytest.raises(OfflineError):
            hub.ask(link.publish("t", b""))
        with pytest.raises(OfflineError):
            hub.ask(link.twin())
        lab.start()


def test_what_the_cloud_refuses_of_a_twin_is_told(lab: Lab, tmp_path: Path) -> None:
    """With its status and reason."""
    with EdgeHub(tmp_path / "hub", lab) as hub:
        hub.until_ready()
        link = hub.cloud.get(HUB)

        async def ask() -> None:
            await link.report({"a.b": 1})

        with pytest.raises(AccessError, match="refuses properties of edge/\\$edgeHub") as refused:
            hub.ask(asyncio.wait_for(ask(), 10))
        assert refused.value.status == 400


class Patient(Random):
    """Chance that makes every pause between attempts very long, and spreads nothing."""

    def uniform(self, a: float, b: float) -> float:
        return 0.0 if a == 0 else 1e6


def test_clients_try_as_soon_as_the_hub_has_found_the_cloud() -> None:
    """Their own pause, however long it has become, is cut short."""
    attempts: asyncio.Queue[None] = asyncio.Queue()

    async def token() -> FreshToken:
        attempts.put_nowait(None)
        raise OfflineError("edged is away")

    async def attempted(count: int) -> None:
        async with asyncio.timeout(10):
            for _ in range(count):
                await attempts.get()
        assert attempts.empty()

    async def nobody(name: str, payload: bytes) -> tuple[int, bytes]:
        return 404, b""

    def connect(one: Identity) -> CloudLink:
        log = get_logger("hub")
        return CloudLink(one, upstream, clients, SystemClock(), log, Patient())

    async def check() -> None:
        for one in (HUB, LEAF):
            clients.get(one)
        await attempted(2)
        clients.connected(LEAF)
        clients.connected(HUB)
        await attempted(2)
        await clients.stop()

    upstream = Upstream("hub.example", 1, "hub.example", "edge", token, ssl.create_default_context)
    clients = CloudClients(Links(), connect, nobody, unseen())
    asyncio.run(check())
