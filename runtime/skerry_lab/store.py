"""The data of a lab, opened: what server, verbs and tests work through.

On disk (the folder is 0700):

    DIR/
      lab.db server.pem    0600: everything the lab knows; the server's key and chain, made from it
      ca.pem               0644: the root to trust
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from skerry.base.clock import Clock, SystemClock
from skerry.base.files import write_atomic
from skerry.base.log import get_logger
from skerry.heads.routes import Answer, Request
from skerry.wire.tpm_credential import make_import_blob
from skerry_lab import authority
from skerry_lab.cloud import SCHEMAS, Cloud, Names, open_cloud
from skerry_lab.database import Database
from skerry_lab.dps.service import DpsSettings
from skerry_lab.errors import LabError
from skerry_lab.messages.model import MessageSettings
from skerry_lab.registry.model import Authentication, Device, Module

T = TypeVar("T")

DATABASE, ROOT_FILE, SERVER_FILE = "lab.db", "ca.pem", "server.pem"


class Store:
    """The data of a lab, opened; the server, the verbs and tests work through it."""

    def __init__(
        self,
        data_dir: Path,
        *,
        names: Names | None = None,
        settings: DpsSettings | None = None,
        messages: MessageSettings | None = None,
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
                messages=messages,
            )
        )

    def renew(self, names: Sequence[str]) -> authority.Authority:
        """Make or renew root and server certificate, and write their files."""
        made = self._database.run(
            lambda connection: authority.ensure(connection, names, self._clock.now())
        )
        server = (made.server.key_pem + made.server.chain_pem).encode()
        write_atomic(self.data_dir / SERVER_FILE, server, mode=0o600)
        write_atomic(self.data_dir / ROOT_FILE, made.root.chain_pem.encode(), mode=0o644)
        return made

    def do(self, work: Callable[[Cloud], T]) -> T:
        """Run work on the database's thread, in one transaction."""
        return self._database.run(lambda _: work(self.cloud))

    async def ado(self, work: Callable[[Cloud], T]) -> T:
        """Run work like `do`, without blocking the loop."""
        return await asyncio.wrap_future(self._database.submit(lambda _: work(self.cloud)))

    async def answer(self, request: Request) -> Answer:
        """Answer a request; what refuses it has stored nothing."""
        try:
            return await self.ado(lambda cloud: cloud.answer(request))
        except Exception as error:
            return self.cloud.refusal(error)

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Call a function, on the database's thread, whenever something has been stored."""
        self._database.on_commit(listener)

    async def data_version(self) -> int:
        """Return a number that changes when another process has stored something."""
        found = self._database.submit(
            lambda connection: connection.execute("PRAGMA data_version").fetchone()[0]
        )
        return int(await asyncio.wrap_future(found))

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

    def set_parent(self, device_id: str, parent_id: str | None) -> Device:
        """Put a device below an edge device, or below none. Raises: HubError 400, 404."""
        return self._store.do(lambda cloud: cloud.registry.set_parent(device_id, parent_id))

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
        self._store.do(lambda cloud: cloud.authorities.put(name, pem, verified=True))


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
