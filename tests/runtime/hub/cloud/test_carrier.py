"""MQTT to the cloud over WebSocket, with a proxy in between and without."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.https_server import connect_proxy
from harness.edge_hub import DEVICE, EdgeHub, populate
from harness.edged import until
from skerry.base.https import HttpsError, Proxy
from skerry.hub.cloud.carrier import open_carrier
from skerry.wire.identity import Identity
from skerry.wire.mqtt import Connect
from skerry.wire.mqtt_client import Client, RefusedError
from skerry.wire.topics import events_topic
from skerry.wire.websocket_client import WebSocketError
from skerry_lab.server import Lab

A = Identity(DEVICE, "a")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab") as running:
        populate(running)
        yield running


def trusting(lab: Lab) -> ssl.SSLContext:
    """Trust the lab, whatever name it is dialled by."""
    context = ssl.create_default_context(cadata=lab.root_pem)
    context.check_hostname = False
    return context


def test_messages_and_twins_go_over_websocket(lab: Lab, tmp_path: Path) -> None:
    """Large ones too; after the cloud was away as before."""
    with EdgeHub(tmp_path / "hub", lab, is_web=True) as hub:
        hub.until_ready()
        with hub.device(A) as client:
            assert client.connect().code == 0
            bodies = [b"1", bytes(200_000), b"3"]
            for body in bodies[:2]:
                client.publish(events_topic(DEVICE, "a"), body)
            lab.stop()
            client.publish(events_topic(DEVICE, "a"), bodies[2])
            lab.start()

        def arrived() -> list[bytes]:
            found = lab.store.do(lambda cloud: list(cloud.messages.read(0, 100, 10_000_000)))
            return [event.telemetry.body for event in found]

        until(lambda: set(arrived()) == set(bodies), "all have arrived")


def test_a_proxy_is_asked_for_a_tunnel(lab: Lab) -> None:
    """And MQTT goes through it."""

    async def talk(proxy: Proxy) -> None:
        carrier = await open_carrier(
            "hub.example", 443, trusting(lab), 10, is_web=True, proxy=proxy
        )
        now = asyncio.get_running_loop().time()
        client = Client(Connect("edge", "nobody", b"", True, 60), now)
        carrier.write(client.output(now))
        with pytest.raises(RefusedError):
            list(client.feed(await carrier.read(), now))
        carrier.abort()

    with connect_proxy(lab.https_port) as proxy:
        asyncio.run(talk(Proxy(f"http://127.0.0.1:{proxy.port}")))
        assert proxy.received[0].startswith(b"CONNECT hub.example:443 HTTP/1.1")


def test_a_proxy_that_refuses_is_told(lab: Lab) -> None:
    """With what it says."""

    async def talk(proxy: Proxy) -> None:
        await open_carrier("hub.example", 443, trusting(lab), 10, is_web=True, proxy=proxy)

    with (
        connect_proxy(lab.https_port, credentials="user:right") as proxy,
        pytest.raises((OSError, HttpsError), match="407"),
    ):
        asyncio.run(talk(Proxy(f"http://127.0.0.1:{proxy.port}")))


def test_a_server_that_speaks_no_websocket_is_told(lab: Lab) -> None:
    """Such as the port of MQTT itself, which ends the connection."""

    async def talk() -> None:
        context = trusting(lab)
        await open_carrier("localhost", lab.mqtt_port, context, 10, is_web=True, proxy=None)

    with pytest.raises((WebSocketError, ConnectionError)):
        asyncio.run(talk())
