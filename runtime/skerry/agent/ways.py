"""The ways to the hub: MQTT over TLS on 8883, or over WebSocket on 443, where need be by a proxy.

Source: azure-iot-edge.md §5.2. `UpstreamProtocol` names one, without it both are tried in
turn. A proxy
(`https_proxy`, `no_proxy`) is for WebSocket only, as upstream has it.
"""

import contextlib
import secrets
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from skerry.agent.errors import AgentError
from skerry.base.https import Proxy, tls_connection
from skerry.module.protocol import Protocol, parse_protocol
from skerry.wire.websocket_client import WebSocketClient

_READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class Way:
    """One way to the hub."""

    protocol: Protocol
    port: int
    proxy: Proxy | None = None

    def __str__(self) -> str:
        """Return it in a few words."""
        return f"{self.protocol} on port {self.port}"


def ways_of(environment: Mapping[str, str], proxy: Proxy | None) -> tuple[Way, ...]:
    """Return the ways to try, in order; raises AgentError."""
    ways = (
        Way(Protocol.MQTT, _port(environment, "UpstreamPort", 8883)),
        Way(Protocol.MQTT_WS, _port(environment, "UpstreamWebSocketPort", 443), proxy),
    )
    name = environment.get("UpstreamProtocol", "")
    if not name:
        return ways
    meant = parse_protocol(name)
    if meant is None:
        raise AgentError(f"UpstreamProtocol is {name!r}, expected 'Mqtt' or 'MqttWs'")
    return tuple(way for way in ways if way.protocol is meant)


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal():
        raise AgentError(f"{name} is {text!r}, expected a number")
    return int(text)


class Stream:
    """MQTT's bytes to and from the hub; reads never wait, writes do, for the time of the socket."""

    def __init__(self, sock: ssl.SSLSocket, web: WebSocketClient | None, seconds: float) -> None:
        self._sock = sock
        self._web = web
        self._seconds = seconds
        self._held = b""

    def fileno(self) -> int:
        """Return what can be waited on."""
        return self._sock.fileno()

    def has_pending(self) -> bool:
        """Tell whether there is something to read that waiting would not show."""
        return bool(self._held or self._sock.pending())

    def write(self, data: bytes) -> None:
        """Send all of it."""
        self._sock.sendall(data if self._web is None else self._web.message(data))

    def read(self) -> bytes | None:
        """Return what has come, None for nothing yet, empty at the end."""
        if self._held:
            held, self._held = self._held, b""
            return held
        data = self._receive()
        if not data or self._web is None:
            return data
        found = b"".join(self._web.feed(data))
        if replies := self._web.replies():
            self._sock.sendall(replies)
        return found or (b"" if self._web.is_ended else None)

    def open(self) -> None:
        """Ask for the WebSocket, if it is one, and wait until it is there."""
        if self._web is None:
            return
        self._sock.sendall(self._web.request())
        while not self._web.is_open:
            data = self._sock.recv(_READ_BYTES)
            if not data:
                raise ConnectionResetError("the hub has closed the connection")
            self._held += b"".join(self._web.feed(data))

    def _receive(self) -> bytes | None:
        self._sock.settimeout(0)
        try:
            return self._sock.recv(_READ_BYTES)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        finally:
            self._sock.settimeout(self._seconds)


@contextlib.contextmanager
def open_stream(way: Way, host: str, context: ssl.SSLContext, seconds: float) -> Iterator[Stream]:
    """Go a way. Raises: OSError, HttpsError, WebSocketError."""
    with tls_connection(host, way.port, context, way.proxy, seconds) as sock:
        web = (
            WebSocketClient(host, secrets.token_bytes) if way.protocol is Protocol.MQTT_WS else None
        )
        stream = Stream(sock, web, seconds)
        stream.open()
        yield stream
