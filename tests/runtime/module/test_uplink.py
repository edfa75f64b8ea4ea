"""Telemetry of a module, sent to a lab as to any hub."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.edge_hub import DEVICE, key_of, populate
from harness.edged import until
from harness.lab import make_token
from skerry.base.clock import SystemClock
from skerry.module.uplink import MOST_WAITING, Place, Uplink
from skerry.wire.identity import Identity
from skerry.wire.sas import FreshToken
from skerry_lab.messages.model import Event
from skerry_lab.server import Lab

A = Identity(DEVICE, "a")


@dataclass
class Module:
    """The module `edge/a` in front of a lab; `told` is what its uplink tells."""

    lab: Lab
    port: int
    key: bytes
    token_seconds: float = 3600.0
    told: list[str | None] = field(default_factory=list)
    tokens: int = 0

    def __post_init__(self) -> None:
        place = Place("localhost", self.port, self.lab.hub_name, DEVICE, "a", "telemetry")
        self.place, self.clock = place, SystemClock()
        self.uplink = Uplink(place, self._token, self._trust, self.told.append, self.clock, 0.01)

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=self.uplink.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(20)
            assert not thread.is_alive()

    def arrived(self) -> list[Event]:
        return self.lab.store.do(lambda cloud: list(cloud.messages.read(0, 1000, 10_000_000)))

    def _token(self) -> FreshToken:
        self.tokens += 1
        now = self.clock.now().timestamp()
        text = make_token(self.place.audience, self.key, now + 3600)
        return FreshToken(text, now + self.token_seconds)

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.lab.root_pem)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab") as running:
        populate(running)
        yield running


def test_messages_arrive_in_order_as_those_of_the_module(lab: Lab) -> None:
    """Each by the output, as JSON in UTF-8; what was acknowledged is counted."""
    module = Module(lab, lab.mqtt_port, key_of(lab, A))
    module.uplink.put(b"0")
    with module.running():
        module.uplink.put(b"1")
        until(lambda: module.uplink.acknowledged == 2, "both are acknowledged")
    found = [event.telemetry for event in module.arrived()]
    assert [(one.identity, one.body) for one in found] == [(A, b"0"), (A, b"1")]
    assert found[0].system["content-type"] == "application/json"
    assert found[0].system["content-encoding"] == "utf-8"
    assert module.told == [None]


def test_a_token_is_renewed_and_nothing_is_lost(lab: Lab) -> None:
    """A connection ends with its token's time, the next one goes on; order is kept."""
    module = Module(lab, lab.mqtt_port, key_of(lab, A), token_seconds=0.4)
    with module.running():
        for number in range(6):
            module.uplink.put(str(number).encode())
            until(lambda n=number: module.uplink.acknowledged > n, "it is acknowledged")  # type: ignore[misc]
    bodies = [int(event.telemetry.body) for event in module.arrived()]
    assert list(dict.fromkeys(bodies)) == list(range(6))
    assert module.tokens > 1


def test_what_keeps_it_from_sending_is_told_once(lab: Lab) -> None:
    """However often it tries; the messages go on waiting."""
    module = Module(lab, lab.mqtt_port, b"the key of another, of 32 bytes!")
    module.uplink.put(b"0")
    with module.running():
        until(lambda: module.tokens > 3, "it tries again and again")
    assert len(module.told) == 1
    assert str(module.told[0]).startswith("refused: ")
    assert (module.uplink.acknowledged, module.arrived()) == (0, [])


def test_without_a_hub_the_oldest_are_dropped(lab: Lab) -> None:
    """What waits is bounded, and what was dropped is counted."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    module = Module(lab, port, key_of(lab, A))
    with module.running():
        until(lambda: module.tokens > 3, "it tries again and again")
        for number in range(MOST_WAITING + 2):
            module.uplink.put(str(number).encode())
    assert (module.uplink.dropped, module.uplink.acknowledged) == (2, 0)
    assert len(module.told) == 1
