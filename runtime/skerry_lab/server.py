"""The running lab: database, authority and the TLS server of one data folder.

On disk (the folder is 0700):

    DIR/
      lab.db server.pem    0600: everything the lab knows; the server's key and chain, made from it
      ca.pem               0644: the root to trust
      lab.lock             held by the one server of the folder

The asyncio loop runs in a thread of its own; a request is answered on the database's thread.
"""

import asyncio
import errno
import fcntl
import os
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from skerry.base.clock import Clock, SystemClock
from skerry.base.files import state_folder, write_atomic
from skerry.base.log import get_logger
from skerry.wire.tpm_credential import make_import_blob
from skerry_lab import authority
from skerry_lab.cloud import SCHEMAS, Cloud, Names, open_cloud
from skerry_lab.database import Database
from skerry_lab.dps.model import Enrollment, checked
from skerry_lab.dps.service import DpsSettings
from skerry_lab.errors import AddressInUseError, LabError
from skerry_lab.http import HttpLimits, HttpServer
from skerry_lab.registry.model import Authentication, Device, Module
from skerry_lab.routes import Answer, Request
from skerry_lab.tls import server_context

T = TypeVar("T")

LOOPBACK = ("127.0.0.1", "::1")
DATABASE, ROOT_FILE, _SERVER_FILE, _LOCK_FILE = "lab.db", "ca.pem", "server.pem", "lab.lock"
_STANDARD_PORT = 443
_BACKLOG = 512
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
    names: tuple[str, ...] = ()
    dps: DpsSettings = field(default_factory=DpsSettings)
    http: HttpLimits = field(default_factory=HttpLimits)
    renewal_seconds: float = 86400.0


class Store:
    """The data of a lab, opened; the server, the verbs and tests work through it."""

    def __init__(
        self,
        data_dir: Path,
        *,
        names: Names | None = None,
        settings: DpsSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Open a folder, which is made if it is missing; `names` None are those of the last start.

        Raises: LabError.
        """
        make_folder(data_dir)
        self.data_dir = data_dir
        self._database = Database(data_dir / DATABASE, SCHEMAS)
        self._clock = clock or SystemClock()
        self.cloud = self._database.run(
            lambda connection: open_cloud(
                connection,
                clock=self._clock,
                log=get_logger("lab"),
                names=names,
                wrap=make_import_blob,
                settings=settings or DpsSettings(),
            )
        )

    def renew(self, names: Sequence[str]) -> authority.Authority:
        """Make or renew root and server certificate, and write their files."""
        made = self._database.run(
            lambda connection: authority.ensure(connection, names, self._clock.now())
        )
        server = (made.server.key_pem + made.server.chain_pem).encode()
        write_atomic(self.data_dir / _SERVER_FILE, server, mode=0o600)
        write_atomic(self.data_dir / ROOT_FILE, made.root.chain_pem.encode(), mode=0o644)
        return made

    def do(self, work: Callable[[Cloud], T]) -> T:
        """Run work on the database's thread, in one transaction."""
        return self._database.run(lambda _: work(self.cloud))

    async def answer(self, request: Request) -> Answer:
        """Answer a request; what refuses it has stored nothing."""
        try:
            return await asyncio.wrap_future(
                self._database.submit(lambda _: self.cloud.answer(request))
            )
        except Exception as error:
            return self.cloud.refusal(error)

    def close(self) -> None:
        """Close the database."""
        self._database.close()


class LabRegistry:
    """The registry, to be used from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create_device(
        self,
        device_id: str,
        *,
        edge: bool = True,
        authentication: Authentication | None = None,
    ) -> Device:
        """Register a device, with new keys unless it is told how it authenticates."""

        def work(cloud: Cloud) -> Device:
            auth = authentication or cloud.registry.fresh_keys()
            return cloud.registry.put_device(Device(device_id, auth, edge=edge))

        return self._store.do(work)

    def update_device(self, device: Device) -> Device:
        """Replace a device, whatever its version."""
        return self._store.do(lambda cloud: cloud.registry.put_device(device, "*"))

    def device(self, device_id: str) -> Device:
        """Return a device. Raises: HubError 404."""
        return self._store.do(lambda cloud: cloud.registry.device(device_id))

    def modules(self, device_id: str) -> list[Module]:
        """Return the modules of a device."""
        return self._store.do(lambda cloud: cloud.registry.store.modules(device_id))

    def delete_device(self, device_id: str) -> None:
        """Remove a device and its modules. Raises: HubError 404."""
        self._store.do(lambda cloud: cloud.registry.delete_device(device_id))

    def trust(self, name: str, pem: str) -> None:
        """Trust an authority for devices of type `certificateAuthority`."""
        self._store.do(lambda cloud: cloud.registry.store.put_certificate(name, pem))


class Lab:
    """A lab cloud that serves while it is entered, or between `start` and `stop`."""

    def __init__(
        self, data_dir: Path, settings: LabSettings | None = None, *, clock: Clock | None = None
    ) -> None:
        self._data_dir = data_dir
        self._settings = settings or LabSettings()
        self._clock = clock or SystemClock()
        self._log = get_logger("lab")
        self.https_port = self._settings.https_port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None

    def start(self) -> None:
        """Open the folder and listen, after a stop at the same port.

        Raises: LabError, AddressInUseError.
        """
        with ExitStack() as undo:
            make_folder(self._data_dir)
            undo.callback(os.close, _lock(self._data_dir / _LOCK_FILE))
            self._sockets = _listen(self._settings.hosts, self.https_port)
            for sock in self._sockets:
                undo.callback(sock.close)
            self.https_port = self._sockets[0].getsockname()[1]
            state_folder(self._data_dir)  # clears what a killed lab left
            self.store = Store(
                self._data_dir, names=self.names, settings=self._settings.dps, clock=self._clock
            )
            undo.callback(self.store.close)
            self.authority = self.store.renew(self._settings.names)
            self.registry = LabRegistry(self.store)
            self._context = server_context(self._data_dir / _SERVER_FILE)
            self._serve_in_thread()
            self._undo = undo.pop_all()

    def stop(self) -> None:
        """End all connections and close the database; everything answered is on disk."""
        if self._loop is not None and self._ended is not None:
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
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
        http = HttpServer(self.store.answer, self._settings.http, self._clock, self._log)
        servers = [
            await asyncio.start_server(
                http.connected,
                sock=sock,
                ssl=self._context,
                ssl_handshake_timeout=self._settings.http.head_seconds,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
                backlog=_BACKLOG,
            )
            for sock in self._sockets
        ]
        renewal = asyncio.create_task(self._renew())
        started.set_result(None)
        await self._ended.wait()
        renewal.cancel()
        for server in servers:
            server.close()
        await http.close()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._settings.renewal_seconds)
            try:
                await asyncio.to_thread(self.store.renew, self._settings.names)
                self._context.load_cert_chain(self._data_dir / _SERVER_FILE)
            except (LabError, OSError) as error:
                self._log.error("the server's certificate is not renewed", reason=error)

    def _connection_lost(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        # A handshake that fails is the other side's affair, not one line of ours each time.
        error = context.get("exception")
        if isinstance(error, ssl.SSLError | OSError):
            self._log.debug("connection lost", reason=str(error))
        else:
            self._log.error("the loop reports", what=context.get("message"), error=repr(error))


def make_folder(path: Path) -> None:
    """Make the folder of a lab, private. Raises: LabError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"{path} cannot be the lab's folder: {error.strerror}") from error


def device_connection_string(device: Device, host: str) -> str:
    """Return the connection string of a device with a key, `x509=true` for any other."""
    start = f"HostName={host};DeviceId={device.device_id};"
    key = device.authentication.primary_key
    return start + (f"SharedAccessKey={key}" if key else "x509=true")


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


def _listen(hosts: Sequence[str], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for host in hosts:
            try:
                sock = _bind(host, port)
            except OSError as error:
                missing = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
                if missing and sockets and tuple(hosts) == LOOPBACK:
                    continue  # a machine without IPv6
                raise _refusal(host, port, error) from error
            sockets.append(sock)
            port = sock.getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        # Now and not in the loop: of two labs at once the second one learns it here.
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _refusal(host: str, port: int, error: OSError) -> LabError:
    if error.errno == errno.EADDRINUSE:
        return AddressInUseError(
            f"port {port} of {host} is taken by another program; stop it or use --https-port"
        )
    if error.errno == errno.EACCES:
        return LabError(
            f"port {port} of {host} is for root only; run as root or use --https-port 8443"
        )
    return LabError(f"the lab cannot listen on {host!r} port {port}: {error.strerror}")
