"""A plain MQTT client of the lab, packet by packet, for what the stock SDKs do not do."""

import socket
import ssl
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

from harness.lab import make_token
from skerry.wire.identity import Identity
from skerry.wire.mqtt import (
    ConnAck,
    Connect,
    Packet,
    PubAck,
    Publish,
    Reader,
    SubAck,
    Subscribe,
    encode,
)
from skerry.wire.topics import user_name
from skerry_lab.server import Lab

P = TypeVar("P")

DEADLINE_SECONDS = 20.0
API_VERSION = "2021-04-12"


class ClosedError(Exception):
    """The lab has closed the connection."""


@dataclass
class MqttDevice:
    """One connection of a device or module; `with` opens and closes it."""

    lab: Lab
    identity: Identity
    key: bytes = b""
    clean_session: bool = True
    seconds: float = 3600.0
    keep_alive_seconds: int = 60
    chain: str | None = None
    _reader: Reader = field(default_factory=Reader)
    _come: deque[Packet] = field(default_factory=deque)
    _last_id: int = 0

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.sock.close()

    @property
    def audience(self) -> str:
        device = f"{self.lab.hub_name}/devices/{self.identity.device_id}"
        module_id = self.identity.module_id
        return device if module_id is None else f"{device}/modules/{module_id}"

    @property
    def token(self) -> str:
        now = self.lab.clock.now().timestamp()
        return make_token(self.audience, self.key, now + self.seconds)

    def open(self) -> None:
        """Make the TLS connection."""
        context = ssl.create_default_context(cadata=self.lab.root_pem)
        if self.chain is not None:
            context.load_cert_chain(self.chain)
        plain = socket.create_connection(("127.0.0.1", self.lab.mqtt_port), DEADLINE_SECONDS)
        self.sock = context.wrap_socket(plain, server_hostname="localhost")

    def connect(self, **changes: object) -> ConnAck:
        """Send CONNECT; returns the answer."""
        fields: dict[str, object] = {
            "client_id": str(self.identity),
            "username": user_name(self.lab.hub_name, str(self.identity), API_VERSION),
            "password": self.token.encode() if self.key else None,
            "clean_session": self.clean_session,
            "keep_alive_seconds": self.keep_alive_seconds,
        }
        self.send(Connect(**{**fields, **changes}))  # type: ignore[arg-type]
        return self.next(ConnAck)

    def send(self, *packets: Packet) -> None:
        """Send packets at once."""
        self.sock.sendall(b"".join(map(encode, packets)))

    def publish(self, topic: str, payload: bytes = b"", qos: int = 1) -> PubAck | None:
        """Publish, and wait for the acknowledgement of QoS 1."""
        self._last_id += 1
        self.send(Publish(topic, payload, qos, self._last_id if qos else None))
        return self.next(PubAck) if qos else None

    def subscribe(self, *filters: str, qos: int = 1) -> tuple[int, ...]:
        """Subscribe; returns the codes."""
        self._last_id += 1
        self.send(Subscribe(self._last_id, tuple((text, qos) for text in filters)))
        return self.next(SubAck).codes

    def message(self) -> Publish:
        """Return the next message and acknowledge it."""
        found = self.next(Publish)
        if found.packet_id is not None:
            self.send(PubAck(found.packet_id))
        return found

    def next(self, kind: type[P]) -> P:
        """Return the next packet of a kind; others stay. Raises: ClosedError, TimeoutError."""
        while True:
            for packet in self._come:
                if isinstance(packet, kind):
                    self._come.remove(packet)
                    return packet
            try:
                data = self.sock.recv(65536)
            except (ConnectionError, ssl.SSLEOFError) as error:
                raise ClosedError from error
            if not data:
                raise ClosedError
            self._come.extend(self._reader.feed(data))

    def count(self, kind: type[Packet]) -> int:
        """Return how many packets of a kind have come and nobody has asked for."""
        return sum(isinstance(packet, kind) for packet in self._come)

    def is_closed(self) -> bool:
        """Wait for the lab to close the connection."""
        try:
            self.next(Connect)  # never comes
        except ClosedError:
            return True
        return False
