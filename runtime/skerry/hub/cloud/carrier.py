"""What carries MQTT to the cloud or a parent: TLS, or WebSocket over it, where need be by a proxy.

A proxy (`https_proxy`, `no_proxy`) is for WebSocket only, as upstream has it. Lives on the loop.
"""

import asyncio
import secrets
import ssl

from skerry.base.https import Proxy, plain_connection
from skerry.wire.websocket_client import WebSocketClient

_READ_BYTES = 64 * 1024


class Carrier:
    """One open connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        web: WebSocketClient | None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._web = web
        self._held = b""

    async def read(self) -> bytes:
        """Return what has come; empty at the end. Raises: OSError, WebSocketError."""
        if self._held:
            held, self._held = self._held, b""
            return held
        while data := await self._reader.read(_READ_BYTES):
            found = data if self._web is None else self._unframed(self._web, data)
            if found:
                return found
            if self._web is not None and self._web.is_ended:
                break
        return b""

    def write(self, data: bytes) -> None:
        """Send all of it soon, unless the connection is ending."""
        if not self._writer.is_closing():
            self._writer.write(data if self._web is None else self._web.message(data))

    def abort(self) -> None:
        """End it at once."""
        self._writer.transport.abort()

    async def upgrade(self, web: WebSocketClient) -> None:
        """Ask for the WebSocket and wait until it is there."""
        self._writer.write(web.request())
        while not web.is_open:
            data = await self._reader.read(_READ_BYTES)
            if not data:
                raise ConnectionResetError("the cloud has closed the connection")
            self._held += self._unframed(web, data)

    def _unframed(self, web: WebSocketClient, data: bytes) -> bytes:
        found = b"".join(web.feed(data))
        if replies := web.replies():
            self._writer.write(replies)
        return found


async def open_carrier(
    host: str,
    port: int,
    context: ssl.SSLContext,
    seconds: float,
    *,
    is_web: bool,
    proxy: Proxy | None,
) -> Carrier:
    """Connect, within `seconds`. Raises: OSError, TimeoutError, HttpsError, WebSocketError."""
    async with asyncio.timeout(seconds):
        if not is_web:
            found = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
            return Carrier(*found, None)
        plain = await asyncio.to_thread(plain_connection, host, port, proxy, seconds)
        plain.setblocking(False)
        reader, writer = await asyncio.open_connection(
            sock=plain, ssl=context, server_hostname=host
        )
        web = WebSocketClient(host, secrets.token_bytes)
        carrier = Carrier(reader, writer, web)
        try:
            await carrier.upgrade(web)
        except BaseException:
            carrier.abort()
            raise
        return carrier
