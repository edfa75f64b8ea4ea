"""A hub as a whole: heads, routes, store, twins and the way to the cloud. Lives on the loop.

Invariants
- It serves its clients from what it keeps: scope, settings and twins of the last time the cloud was
  reached are on disk, so a start without a network is a start like any other.
- Desired properties that cannot be used change nothing; why is in `refusal`.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from cryptography import x509

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.log import Logger
from skerry.heads.links import Links
from skerry.hub.access import Access
from skerry.hub.backend import HubBackend
from skerry.hub.cloud.clients import CloudClients
from skerry.hub.cloud.link import CloudLink, Upstream
from skerry.hub.cloud.pump import Pump
from skerry.hub.desired import parse_desired
from skerry.hub.errors import DesiredError
from skerry.hub.methods import MethodsApi
from skerry.hub.own_methods import OwnMethods
from skerry.hub.reported import Reporter
from skerry.hub.scope import Scope
from skerry.hub.server import HubServer, ServerSettings
from skerry.hub.store.store import Store
from skerry.hub.twins import TwinKeeper
from skerry.wire.identity import Identity

_KIND, _SCOPE, _DESIRED = "hub", "scope", "desired"
MOST_CLIENTS = 4096
_REFRESH_SECONDS = 3600.0
_RETRY_SECONDS = 30.0


@dataclass(frozen=True)
class HubSettings:
    """Which device this is, and the host names (lower case) that its clients may dial.

    What changes of its state is reported after at most `report_seconds`. Of more than
    `most_clients` those that come last are refused.
    """

    device_id: str
    names: frozenset[str]
    server: ServerSettings = field(default_factory=ServerSettings)
    report_seconds: float = 5.0
    most_clients: int = MOST_CLIENTS

    @property
    def identity(self) -> Identity:
        """The hub's own identity in the cloud."""
        return Identity(self.device_id, "$edgeHub")


Fetch = Callable[[], Awaitable[Scope]]
"""Asks the cloud for the scope; raises SkerryError when it cannot."""


class Hub:
    """Between `start` and `stop`; the store is opened and closed by its owner."""

    def __init__(
        self,
        settings: HubSettings,
        store: Store,
        upstream: Upstream,
        fetch: Fetch,
        context: ssl.SSLContext,
        anchors: Callable[[], Sequence[x509.Certificate]],
        clock: Clock,
        log: Logger,
    ) -> None:
        self.has_settings = False
        self.refusal = ""
        """Why the last desired properties are not in force; empty when they are."""
        self._settings = settings
        self._store = store
        self._fetch = fetch
        self._log = log
        self._links = Links()
        self._scope = self._kept_scope()
        self._is_told = False
        self._offered: object = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_due = asyncio.Event()
        self.clients = CloudClients(
            self._links,
            lambda one: CloudLink(one, upstream, self.clients, clock, log),
            OwnMethods(self._fetch_scope).call,
        )
        self.twins = TwinKeeper(store.documents, self.clients.get, self._links, log)
        access = Access(lambda: self._scope, settings.names, anchors, clock)
        self._backend = HubBackend(
            device_id=settings.device_id,
            store=store,
            access=access,
            twins=self.twins,
            from_cloud=self.clients,
            links=self._links,
            clock=clock,
            most_clients=settings.most_clients,
        )
        self._pump = Pump(store, self.clients, log)
        methods = MethodsApi(settings.device_id, access, self._links)
        self.server = HubServer(
            settings.server, context, self._backend, self._links, methods.routes(), clock, log
        )
        self._reporter = Reporter(
            self._links,
            lambda: self.clients.get(settings.identity),
            settings.report_seconds,
            clock,
            log,
        )
        self.clients.on_connected = self._connected
        self.clients.on_desired = self._desired
        self._backend.on_connect = self._client_connected

    @property
    def scope(self) -> Scope:
        """Whom the hub answers for."""
        return self._scope

    async def start(self) -> None:
        """Serve. Raises: HubError for a port that cannot be had."""
        kept = self._store.documents.get(_KIND, _DESIRED)
        if kept is not None:
            self._is_told = True
            self._use(json.loads(kept))
        await self.server.start()
        self._pump.start()
        self.clients.get(self._settings.identity)
        self._spawn(self._refresh())
        self._spawn(self._reporter.run())

    async def stop(self) -> None:
        """End all connections; what is acknowledged is on disk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.server.stop()
        await self._pump.stop()
        await self.twins.stop()
        await self.clients.stop()

    def use(self, document: object) -> None:
        """Put desired properties of the twin in force if they can be used, and keep them."""
        self._is_told = True
        if self._use(document):
            data = json.dumps(document).encode()
            self._spawn(_done(self._store.documents.put(_KIND, _DESIRED, data)))

    def offer(self, document: object) -> None:
        """Take settings of the device's own deployment; once the twin has some, those count."""
        if not self._is_told and document != self._offered:
            self._offered = document
            self._use(document)

    def _use(self, document: object) -> bool:
        try:
            desired = parse_desired(document)
        except DesiredError as error:
            self.refusal = str(error)
            self._log.error("the hub's settings cannot be used", reason=error)
            return False
        self.refusal, self.has_settings = "", True
        self._store.limit(desired.max_bytes, desired.when_full)
        self._backend.use(desired)
        return True

    def refresh_scope(self) -> None:
        """Ask for the scope soon."""
        self._is_due.set()

    async def _refresh(self) -> None:
        while True:
            self._is_due.clear()
            seconds = _REFRESH_SECONDS
            try:
                await self._fetch_scope()
            except SkerryError as error:
                seconds = _RETRY_SECONDS
                self._log.warning("the scope is not refreshed", reason=error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._is_due.wait()

    async def _fetch_scope(self) -> None:
        scope = await self._fetch()
        if scope == self._scope:
            return
        self._scope = scope
        self._log.info("scope changed", clients=len(scope.clients))
        await asyncio.wrap_future(self._store.documents.put(_KIND, _SCOPE, scope.to_bytes()))
        for identity in self._links.identities():
            link = self._links.get(identity)
            if link is not None:
                link.identity_changed()

    def _kept_scope(self) -> Scope:
        kept = self._store.documents.get(_KIND, _SCOPE)
        return Scope() if kept is None else Scope.parse(kept)

    def _client_connected(self, identity: Identity) -> None:
        self.clients.get(identity)

    def _connected(self, identity: Identity) -> None:
        self._pump.connected(identity)
        if identity == self._settings.identity:
            self._is_due.set()
            self._spawn(self._read_own())
        else:
            self.twins.connected(identity)

    def _desired(self, identity: Identity, version: int, patch: Mapping[str, object]) -> None:
        if identity == self._settings.identity:
            self._spawn(self._read_own())
        else:
            self.twins.desired(identity, version, patch)

    async def _read_own(self) -> None:
        try:
            twin = await self.clients.get(self._settings.identity).twin()
        except SkerryError as error:
            self._log.warning("the hub's own twin is not read", reason=error)
            return
        desired = twin.get("desired")
        if isinstance(desired, dict) and set(desired) - {"$version"}:
            self.use({name: value for name, value in desired.items() if name != "$version"})
        self._reporter.told(twin, self.refusal)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _done(future: "Future[object]") -> None:
    await asyncio.wrap_future(future)
