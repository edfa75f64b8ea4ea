"""The frames of a WebSocket around MQTT (RFC 6455, by wsproto), subprotocol `mqtt`.

SDKs ask for the path /$iothub/websocket; any is taken, as upstream's hub does. How MQTT's packets
are spread over frames means nothing.
"""

from asyncio import Event, StreamWriter
from collections.abc import Iterator

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
)
from wsproto.events import Request as Asked
from wsproto.utilities import ProtocolError

from skerry.heads.routes import Request

_SUBPROTOCOL = "mqtt"
_NOT_UPGRADED = 400


class WebSocketError(Exception):
    """The client does not speak WebSocket as it should."""


class Gate:
    """Stops the reading of a WebSocket's stream, whose own flow control stays as it is."""

    def __init__(self) -> None:
        self._is_open = Event()
        self._is_open.set()

    def pause_reading(self) -> None:
        """Let nobody pass."""
        self._is_open.clear()

    def resume_reading(self) -> None:
        """Let everybody pass."""
        self._is_open.set()

    async def passed(self) -> None:
        """Wait until the gate is open."""
        await self._is_open.wait()


class WebSocket:
    """The server's side of one WebSocket."""

    def __init__(self, writer: StreamWriter) -> None:
        self._writer = writer
        self._wire = WSConnection(ConnectionType.SERVER)
        self.is_ended = False

    def accept(self, request: Request) -> bool:
        """Answer the request for a WebSocket; False when it is refused."""
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in
                   request.headers.items()]  # fmt: skip
        try:
            self._wire.initiate_upgrade_connection(headers, request.path)
            asked = next(iter(self._wire.events()))
        except ProtocolError:
            asked = None
        if not isinstance(asked, Asked) or _SUBPROTOCOL not in asked.subprotocols:
            self._refuse(asked is not None)
            return False
        self._writer.write(self._wire.send(AcceptConnection(subprotocol=_SUBPROTOCOL)))
        return True

    def send(self, data: bytes) -> None:
        """Send a binary message."""
        if self._wire.state is ConnectionState.OPEN:
            self._writer.write(self._wire.send(BytesMessage(data=data)))

    def received(self, data: bytes) -> Iterator[bytes]:
        """Yield what the client's frames carry. Raises: WebSocketError."""
        try:
            if data:
                self._wire.receive_data(data)
            for event in self._wire.events():
                match event:
                    case BytesMessage():
                        yield bytes(event.data)
                    case Ping():
                        self._writer.write(self._wire.send(event.response()))
                    case CloseConnection():
                        self.is_ended = True
                        self._writer.write(self._wire.send(event.response()))
                    case _:
                        raise WebSocketError(f"{type(event).__name__} is not for MQTT")
        except ProtocolError as error:
            raise WebSocketError(str(error)) from error

    def _refuse(self, can_answer: bool) -> None:
        self.is_ended = True
        if can_answer:
            self._writer.write(self._wire.send(RejectConnection(status_code=_NOT_UPGRADED)))
