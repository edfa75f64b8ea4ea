"""The running lab: the TLS servers of one data folder.

On disk, beside what the store keeps there:

    DIR/
      lab.lock             held by the one server of the folder
      lab.json             0600: {"pid", "hub", "https_port", "mqtt_port"} while it serves

The asyncio loop runs in a thread of its own; a request is answered on the database's thread.
"""

import asyncio
import fcntl
import json
import os
import ssl
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from skerry.base.clock import Clock, SystemClock
from skerry.base.files import state_folder, write_atomic
from skerry.base.log import get_logger
from skerry.heads.http import HttpLimits, HttpServer
from skerry.heads.mqtt import MqttHead
from skerry.heads.tls import bound_buffers, server_context
from skerry_lab.cloud import Names
from skerry_lab.dps.model import Enrollment, checked
from skerry_lab.dps.service import DpsSettings
from skerry_lab.errors import LabError
from skerry_lab.listen import BACKLOG, LOOPBACK, listen
from skerry_lab.live import Live
from skerry_lab.messages.model import MessageSettings
from skerry_lab.mqtt.backend import LabBackend
from skerry_lab.store import (
    SERVER_FILE,
    LabRegistry,
    Store,
    device_connection_string,
    make_folder,
)

T = TypeVar("T")

RUNNING_FILE = "lab.json"

_LOCK_FILE = "lab.lock"
_STANDARD_PORT = 443
_SHUTDOWN_SECONDS = 2.0


@dataclass(frozen=True)
class LabSettings:
    """Where a lab listens and what it is called.

    `names` are the DNS names and addresses of the server, the first is the hub's; without any it
    is `localhost`. Port 0 takes a free one. Every `renewal_seconds` the server's certificate is
    looked at.
    """

    hosts: Sequence[str] = LOOPBACK
    https_port: int = 0
    mqtt_port: int = 0
    names: tuple[str, ...] = ()
    dps: DpsSettings = field(default_factory=DpsSettings)
    messages: MessageSettings = field(default_factory=MessageSettings)
    http: HttpLimits = field(default_factory=HttpLimits)
    renewal_seconds: float = 86400.0


class Lab:
    """A lab cloud that serves while it is entered, or between `start` and `stop`."""

    def __init__(
        self, data_dir: Path, settings: LabSettings | None = None, *, clock: Clock | None = None
    ) -> None:
        self._data_dir = data_dir
        self._settings = settings or LabSettings()
        self.clock = clock or SystemClock()
        self._log = get_logger("lab")
        self.https_port = self._settings.https_port
        self.mqtt_port = self._settings.mqtt_port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None

    def start(self) -> None:
        """Open the folder and listen, after a stop at the same ports.

        Raises: LabError, AddressInUseError.
        """
        with ExitStack() as undo:
            make_folder(self._data_dir)
            undo.callback(os.close, _lock(self._data_dir / _LOCK_FILE))
            hosts = self._settings.hosts
            self._https = listen(hosts, self.https_port, "--https-port")
            for sock in self._https:
                undo.callback(sock.close)
            self.https_port = self._https[0].getsockname()[1]
            self._mqtt = listen(hosts, self.mqtt_port, "--mqtt-port")
            for sock in self._mqtt:
                undo.callback(sock.close)
            self.mqtt_port = self._mqtt[0].getsockname()[1]
            state_folder(self._data_dir)  # clears what a killed lab left
            self.store = Store(
                self._data_dir,
                names=self.names,
                settings=self._settings.dps,
                messages=self._settings.messages,
                clock=self.clock,
            )
            undo.callback(self.store.close)
            self.authority = self.store.renew(self._settings.names)
            self.registry = LabRegistry(self.store)
            self._context = server_context(self._data_dir / SERVER_FILE)
            bound_buffers()
            self._serve_in_thread()
            undo.callback(self._thread.join)
            undo.callback(self._end)
            self._write_running()
            undo.callback((self._data_dir / RUNNING_FILE).unlink, missing_ok=True)
            self._undo = undo.pop_all()

    def stop(self) -> None:
        """End all connections and close the database; everything answered is on disk."""
        self._undo.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def names(self) -> Names:
        """What the hub is called now."""
        host, *others = self._settings.names or ("localhost",)
        name = host if self.https_port == _STANDARD_PORT else f"{host}:{self.https_port}"
        return Names(name, tuple(others))

    @property
    def hub_name(self) -> str:
        """The hub's host name, with the port unless it is 443."""
        return self.names.own

    @property
    def endpoint(self) -> str:
        """The base address of DPS, for `global_endpoint`."""
        return f"https://{self.hub_name}"

    @property
    def id_scope(self) -> str:
        """The id scope of DPS."""
        return self.store.cloud.id_scope

    @property
    def root_pem(self) -> str:
        """The certificate to trust."""
        return self.authority.root.chain_pem

    def add_enrollment(self, enrollment: Enrollment) -> None:
        """Enrol a device or a group. Raises: EnrollmentError."""
        self.store.do(lambda cloud: cloud.dps.put_enrollment(checked(enrollment)))

    def connection_string(self, device_id: str) -> str:
        """Return what a device's `provisioning.connection_string` is set to."""
        return device_connection_string(self.registry.device(device_id), self.hub_name)

    def submit(self, work: Coroutine[object, object, T]) -> "Future[T]":
        """Run something on the server's loop, from any other thread."""
        if self._loop is None:
            raise LabError("the lab does not run")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _end(self) -> None:
        if self._loop is not None and self._ended is not None:
            self._loop.call_soon_threadsafe(self._ended.set)

    def _write_running(self) -> None:
        facts = {
            "pid": os.getpid(),
            "hub": self.hub_name,
            "https_port": self.https_port,
            "mqtt_port": self.mqtt_port,
        }
        write_atomic(self._data_dir / RUNNING_FILE, json.dumps(facts).encode(), mode=0o600)

    def _serve_in_thread(self) -> None:
        started: Future[None] = Future()

        def serve() -> None:
            try:
                asyncio.run(self._serve(started))
            except BaseException as error:
                if started.done():
                    raise
                started.set_exception(error)

        self._thread = threading.Thread(target=serve, name="lab-server", daemon=True)
        self._thread.start()
        started.result()

    async def _serve(self, started: "Future[None]") -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._connection_lost)
        self._loop, self._ended = loop, asyncio.Event()
        live = self.live = Live(self.store, self._log)
        mqtt = MqttHead(LabBackend(self.store), live.links, self.clock, self._log)
        limits = self._settings.http
        http = HttpServer(live.answer, limits, self.clock, self._log, mqtt.upgraded)

        def streams() -> asyncio.StreamReaderProtocol:
            reader = asyncio.StreamReader(loop=loop)
            return asyncio.StreamReaderProtocol(reader, http.connected, loop=loop)

        servers = [
            await loop.create_server(
                protocol,
                sock=sock,
                ssl=self._context,
                ssl_handshake_timeout=limits.head_seconds,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
                backlog=BACKLOG,
            )
            for protocol, sockets in ((streams, self._https), (mqtt.protocol, self._mqtt))
            for sock in sockets
        ]
        tasks = [
            asyncio.create_task(self._renew()),
            asyncio.create_task(live.run()),
            asyncio.create_task(mqtt.run()),
            asyncio.create_task(live.tidy()),
        ]
        started.set_result(None)
        await self._ended.wait()
        for task in tasks:
            task.cancel()
        for server in servers:
            server.close()
        await mqtt.close()
        await http.close()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._settings.renewal_seconds)
            try:
                await asyncio.to_thread(self.store.renew, self._settings.names)
                self._context.load_cert_chain(self._data_dir / SERVER_FILE)
            except (LabError, OSError) as error:
                self._log.error("the server's certificate is not renewed", reason=error)

    def _connection_lost(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        # A handshake that fails is the other side's affair, not one line of ours each time.
        error = context.get("exception")
        if isinstance(error, ssl.SSLError | OSError):
            self._log.debug("connection lost", reason=str(error))
        else:
            self._log.error("the loop reports", what=context.get("message"), error=repr(error))


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise LabError(
            f"a lab already runs on {path.parent}; stop it or use another --data folder"
        ) from error
    return descriptor
