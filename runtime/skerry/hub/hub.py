"""A hub as a whole: heads, routes, store, twins and the way to the cloud. Lives on the loop.

Invariants
- It serves its clients from what it keeps: scope, settings and twins of the last time the cloud was
  reached are on disk, so a start without a network is a start like any other.
- Desired properties that cannot be used change nothing; why is in `refusal`.
- Without an upstream there is no cloud: scope and settings are the device's own, twins are kept
  here alone, and a route to `$upstream` cannot be used.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from cryptography import x509

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.log import Logger
from skerry.heads.links import Links
from skerry.heads.routes import Answer, LiveRoute, Request
from skerry.hub.access import Access
from skerry.hub.backend import HubBackend
from skerry.hub.cloud.budget import Budget
from skerry.hub.cloud.clients import CloudClients
from skerry.hub.cloud.link import CloudLink, Upstream
from skerry.hub.cloud.pump import Pump
from skerry.hub.desired import parse_desired
from skerry.hub.desk import ClientDesk
from skerry.hub.errors import DesiredError
from skerry.hub.figures import Figures
from skerry.hub.methods import MethodsApi
from skerry.hub.no_cloud import NoCloud
from skerry.hub.own_methods import OwnMethods
from skerry.hub.reported import Reporter
from skerry.hub.scope import Scope
from skerry.hub.server import HubServer, ServerSettings
from skerry.hub.store.store import Store
from skerry.hub.twins import TwinKeeper
from skerry.module.metrics_server import TEXT_TYPE
from skerry.wire.identity import Identity

_KIND, _SCOPE, _DESIRED = "hub", "scope", "desired"
MOST_CLIENTS = 4096
REFRESH_SECONDS = 3600.0
_RETRY_SECONDS, _LOOK_SECONDS = 30.0, 1.0


@dataclass(frozen=True)
class HubSettings:
    """Which device this is, and the host names (lower case) that its clients may dial.

    What changes of its state is reported after at most `report_seconds`. Of more than
    `most_clients` those that come last are refused. The scope is asked for every `scope_seconds`.
    """

    device_id: str
    names: frozenset[str]
    server: ServerSettings = field(default_factory=ServerSettings)
    report_seconds: float = 5.0
    most_clients: int = MOST_CLIENTS
    scope_seconds: float = REFRESH_SECONDS
    message_bytes_per_day: int | None = None
    """How much of messages may go to the cloud; None: without limit."""

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
        upstream: Upstream | None,
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
        self._clock = clock
        self._looked_at = -_LOOK_SECONDS
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_due = asyncio.Event()
        hub_name = settings.device_id if upstream is None else upstream.hub_name
        self.figures = Figures(
            hub_name, settings.device_id, self._links, store.queues, store.totals
        )
        cloud = self.cloud = self._to_cloud(upstream, clock) if upstream is not None else None
        self._clients = cloud or NoCloud()
        self.twins = TwinKeeper(store.documents, self._clients.get, self._links, self.figures, log)
        access = Access(lambda: self._scope, settings.names, anchors, clock)
        self._backend = HubBackend(
            device_id=settings.device_id,
            store=store,
            access=access,
            twins=self.twins,
            from_cloud=self._clients,
            links=self._links,
            clock=clock,
            most_clients=settings.most_clients,
            figures=self.figures,
        )
        budget = Budget(settings.message_bytes_per_day, store.documents, clock, log)
        self._pump = None if cloud is None else Pump(store, cloud, budget, self.figures, clock, log)
        methods = MethodsApi(settings.device_id, access, self._links, self.figures)
        routes = [*methods.routes(), LiveRoute("GET", "/metrics", self._metrics)]
        self.server = HubServer(
            settings.server, context, self._backend, self._links, routes, clock, log
        )
        self._reporter = None if cloud is None else self._to_report(cloud, clock)
        self._backend.on_connect = self._client_connected
        self._backend.on_stranger = self._look_again
        desk = ClientDesk(
            lambda: self._scope,
            self.twins,
            self._links,
            asyncio.get_running_loop(),
            has_cloud=cloud is not None,
        )
        store.desk.more.update(desk.handlers())

    def _to_cloud(self, upstream: Upstream, clock: Clock) -> CloudClients:
        made: CloudClients = CloudClients(
            self._links,
            lambda one: CloudLink(one, upstream, made, clock, self._log),
            OwnMethods(self._fetch_scope).call,
            self.figures,
        )
        made.on_connected = self._connected
        made.on_desired = self._desired
        return made

    def _to_report(self, cloud: CloudClients, clock: Clock) -> Reporter:
        settings = self._settings
        own = partial(cloud.get, settings.identity)
        return Reporter(self._links, own, settings.report_seconds, clock, self._log)

    async def _metrics(self, request: Request) -> Answer:
        del request
        text = await asyncio.to_thread(self.figures.text)
        return Answer(200, text.encode(), {"content-type": TEXT_TYPE})

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
        if self._pump is not None:
            self._pump.start()
        self._clients.get(self._settings.identity)
        self._spawn(self._refresh())
        if self._reporter is not None:
            self._spawn(self._reporter.run())

    async def stop(self) -> None:
        """End all connections; what is acknowledged is on disk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.server.stop()
        if self._pump is not None:
            await self._pump.stop()
        await self.twins.stop()
        await self._clients.stop()

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
            desired = parse_desired(document, has_cloud=self.cloud is not None)
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
            seconds = self._settings.scope_seconds
            try:
                await self._fetch_scope()
            except SkerryError as error:
                seconds = _RETRY_SECONDS
                self._log.warning("the scope is not refreshed", reason=error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._is_due.wait()

    async def _look_again(self) -> None:
        """A client came that the scope does not have: where asking is cheap, it is asked for."""
        now = self._clock.monotonic()
        if self.cloud is None and now >= self._looked_at + _LOOK_SECONDS:
            self._looked_at = now
            with contextlib.suppress(SkerryError):
                await self._fetch_scope()

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
        self._clients.get(identity)

    def _connected(self, identity: Identity) -> None:
        if self._pump is not None:
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
        if self.cloud is None or self._reporter is None:
            return
        try:
            twin = await self.cloud.get(self._settings.identity).twin()
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
