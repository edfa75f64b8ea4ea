"""The client's side of one WebSocket around MQTT, sans-IO (RFC 6455, subprotocol `mqtt`).

What a client of IoT Hub needs and no more: binary messages, ping and close. How MQTT's packets are
spread over frames means nothing, so each frame's bytes are passed on as they come. Standard library
only: the containers of agent and hub carry nothing else.
"""

import base64
import hashlib
import struct
from collections.abc import Callable, Iterator
from enum import IntEnum

from skerry.base.errors import SkerryError

PATH = "/$iothub/websocket"
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SUBPROTOCOL = "mqtt"
_MAX_HEAD_BYTES = 16 * 1024
_MAX_FRAME_BYTES = 1024 * 1024
_MAX_CONTROL_BYTES = 125
_SWITCHING = "101"
_FINAL, _RESERVED, _MASKED = 0x80, 0x70, 0x80


class WebSocketError(SkerryError):
    """The server does not speak WebSocket as it should, or does not want to."""


class _Code(IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class WebSocketClient:
    """One WebSocket; `request` is sent first, then whatever `feed` and `message` bring about."""

    def __init__(self, host: str, random: Callable[[int], bytes]) -> None:
        """`random` gives so many unpredictable bytes: masks and the key are made of them."""
        self._host = host
        self._random = random
        self._key = base64.b64encode(random(16)).decode()
        self._held = bytearray()
        self._replies = bytearray()
        self.is_open = False
        self.is_ended = False

    def request(self) -> bytes:
        """Return what asks for the WebSocket."""
        lines = (
            f"GET {PATH} HTTP/1.1",
            f"Host: {self._host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {self._key}",
            f"Sec-WebSocket-Protocol: {_SUBPROTOCOL}",
            "Sec-WebSocket-Version: 13",
        )
        return "\r\n".join((*lines, "", "")).encode("ascii")

    def message(self, data: bytes) -> bytes:
        """Return the frame that carries some bytes."""
        return self._frame(_Code.BINARY, data)

    def replies(self) -> bytes:
        """Return what has to be sent because of what came."""
        found = bytes(self._replies)
        self._replies.clear()
        return found

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the bytes that the server's frames carry. Raises: WebSocketError."""
        self._held += data
        if not self.is_open and not self._open():
            return
        while not self.is_ended and (found := self._take()) is not None:
            code, payload = found
            if code is _Code.PING:
                self._replies += self._frame(_Code.PONG, payload)
            elif code is _Code.CLOSE:
                self._replies += self._frame(_Code.CLOSE, payload[:2])
                self.is_ended = True
            elif code is not _Code.PONG and payload:
                yield payload

    def _open(self) -> bool:
        head, end, rest = bytes(self._held).partition(b"\r\n\r\n")
        if not end:
            if len(self._held) > _MAX_HEAD_BYTES:
                raise WebSocketError("the server does not answer in HTTP")
            return False
        status, *lines = head.decode("latin-1").split("\r\n")
        parts = status.split(" ")
        if not status.startswith("HTTP/1.1 ") or parts[1] != _SWITCHING:
            raise WebSocketError(f"the server answers {' '.join(parts[1:])[:80]!r}, expected 101")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        digest = hashlib.sha1((self._key + _GUID).encode(), usedforsecurity=False).digest()
        if headers.get("sec-websocket-accept") != base64.b64encode(digest).decode():
            raise WebSocketError("the server accepts another WebSocket than was asked for")
        if headers.get("sec-websocket-protocol", "").lower() != _SUBPROTOCOL:
            raise WebSocketError("the server does not speak MQTT over WebSocket")
        self._held = bytearray(rest)
        self.is_open = True
        return True

    def _take(self) -> tuple[_Code, bytes] | None:
        """Return the next whole frame, None until there is one."""
        if len(self._held) < 2:
            return None
        first, second = self._held[0], self._held[1]
        try:
            code = _Code(first & 0x0F)
        except ValueError as error:
            raise WebSocketError(f"frame of the unknown kind {first & 0x0F}") from error
        if first & _RESERVED or second & _MASKED or code is _Code.TEXT:
            raise WebSocketError("the server sends a frame that is not for MQTT")
        length, start = second & 0x7F, 2
        if code >= _Code.CLOSE and (length > _MAX_CONTROL_BYTES or not first & _FINAL):
            raise WebSocketError("the server sends a control frame that is too long")
        if length == 126:
            start = 4
        elif length == 127:
            start = 10
        if len(self._held) < start:
            return None
        if start > 2:
            length = int.from_bytes(self._held[2:start], "big")
        if length > _MAX_FRAME_BYTES:
            raise WebSocketError(f"the server sends a frame of {length} bytes")
        if len(self._held) < start + length:
            return None
        payload = bytes(self._held[start : start + length])
        del self._held[: start + length]
        return code, payload

    def _frame(self, code: _Code, data: bytes) -> bytes:
        mask = self._random(4)
        length = len(data)
        if length <= _MAX_CONTROL_BYTES:
            size = struct.pack("!B", _MASKED | length)
        elif length < 1 << 16:
            size = struct.pack("!BH", _MASKED | 126, length)
        else:
            size = struct.pack("!BQ", _MASKED | 127, length)
        # as one large number: byte by byte would take a hundred times as long
        repeated = (mask * (length // 4 + 1))[:length]
        masked = int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")
        return bytes([_FINAL | code]) + size + mask + masked.to_bytes(length, "big")
