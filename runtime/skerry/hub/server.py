"""The hub's listening side: MQTT on 8883, HTTPS and WebSocket on 443, one TLS context for both.

The certificate is swapped by loading another one into the context: connections that stand keep
theirs, new ones get the new one. To be used on the loop.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

from skerry.base.clock import Clock
from skerry.base.log import Logger
from skerry.heads.http import HttpLimits, HttpServer
from skerry.heads.links import Links
from skerry.heads.mqtt import MqttHead
from skerry.heads.ports import Backend
from skerry.heads.routes import Answer, LiveHandler, LiveRoute, Request, Router, Stream
from skerry.hub.errors import AccessError, HubError

_BACKLOG = 512
_SHUTDOWN_SECONDS = 2.0


@dataclass(frozen=True)
class ServerSettings:
    """Where the hub listens; port 0 takes one that is free, host None means everywhere."""

    host: str | None = None
    mqtt_port: int = 8883
    https_port: int = 443
    http: HttpLimits = field(default_factory=HttpLimits)


class HubServer:
    """The heads of one hub, between `start` and `stop`."""

    def __init__(
        self,
        settings: ServerSettings,
        context: ssl.SSLContext,
        backend: Backend,
        links: Links,
        routes: Sequence[LiveRoute],
        clock: Clock,
        log: Logger,
    ) -> None:
        self.mqtt_port, self.https_port = settings.mqtt_port, settings.https_port
        self._settings = settings
        self._context = context
        self._log = log
        self._router: Router[LiveHandler] = Router(routes)
        self._mqtt = MqttHead(backend, links, clock, log)
        self._http = HttpServer(self._answer, settings.http, clock, log, self._mqtt.upgraded)
        self._servers: list[asyncio.Server] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. Raises: HubError for a port that cannot be had."""
        loop = asyncio.get_running_loop()

        def streams() -> asyncio.StreamReaderProtocol:
            reader = asyncio.StreamReader(loop=loop)
            return asyncio.StreamReaderProtocol(reader, self._http.connected, loop=loop)

        ports = []
        for protocol, port in ((self._mqtt.protocol, self.mqtt_port), (streams, self.https_port)):
            try:
                server = await loop.create_server(
                    protocol,
                    self._settings.host,
                    port,
                    ssl=self._context,
                    ssl_handshake_timeout=self._settings.http.head_seconds,
                    ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
                    backlog=_BACKLOG,
                )
            except OSError as error:
                await self.stop()
                raise HubError(
                    f"the hub cannot listen on port {port}: {error.strerror}; "
                    "is the port taken, or not published to the container?"
                ) from error
            self._servers.append(server)
            ports.append(server.sockets[0].getsockname()[1])
        self.mqtt_port, self.https_port = ports
        self._task = asyncio.create_task(self._mqtt.run())

    async def stop(self) -> None:
        """End all connections, once what came by them is stored."""
        if self._task is not None:
            self._task.cancel()
        for server in self._servers:
            server.close()
        await self._mqtt.close()
        await self._http.close()

    async def _answer(self, request: Request) -> Answer | Stream:
        found = self._router.find(request)
        if found is None:
            status = 405 if self._router.knows(request.path) else 404
            return Answer.json({"message": f"{request.path!r} is not known here"}, status)
        handler, parameters = found
        try:
            return await handler(request, **parameters)
        except AccessError as error:
            return Answer.json({"message": str(error)}, error.status)
        except Exception:
            self._log.exception("request failed", path=request.path)
            return Answer.json({"message": "internal error; see the log of the hub"}, 500)
