"""The lab's services over one database, without any socket: who answers what.

A `Cloud` lives on the database's thread. `skerry-lab up` puts a server before it; the other verbs
use its parts directly.
"""

import json
import re
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field

from skerry.base.clock import Clock
from skerry.base.log import Logger
from skerry.heads.routes import Answer, Handler, Request, Router
from skerry_lab import authority
from skerry_lab.configurations import store as configuration_store
from skerry_lab.configurations.api import ConfigurationsApi
from skerry_lab.configurations.content import Deployments
from skerry_lab.configurations.service import Configurations
from skerry_lab.configurations.store import ConfigurationStore
from skerry_lab.configurations.targeting import Targeting
from skerry_lab.dps import store as dps_store
from skerry_lab.dps.api import DpsApi
from skerry_lab.dps.attestation import Attestor, Wrap
from skerry_lab.dps.service import DpsSettings, Provisioning
from skerry_lab.dps.service_api import DpsServiceApi
from skerry_lab.dps.store import DpsStore
from skerry_lab.errors import ApiError
from skerry_lab.messages import log as message_log
from skerry_lab.messages import queue as message_queue
from skerry_lab.messages import records as message_records
from skerry_lab.messages import uploads as message_uploads
from skerry_lab.messages.api import MessagesApi
from skerry_lab.messages.device_api import DeviceMessagesApi
from skerry_lab.messages.model import MessageSettings
from skerry_lab.messages.service import Messages
from skerry_lab.messages.uploads import Uploads
from skerry_lab.mqtt import session as mqtt_session
from skerry_lab.mqtt.session import SessionStore
from skerry_lab.outbox import SCHEMA as OUTBOX_SCHEMA
from skerry_lab.outbox import Outbox
from skerry_lab.registry import store as registry_store
from skerry_lab.registry.access import Access
from skerry_lab.registry.api import RegistryApi
from skerry_lab.registry.authorities import Authorities
from skerry_lab.registry.authorities_api import AuthoritiesApi
from skerry_lab.registry.bulk import Bulk
from skerry_lab.registry.bulk_api import BulkApi
from skerry_lab.registry.errors import HubError
from skerry_lab.registry.policies import PolicyStore
from skerry_lab.registry.presence import Presence
from skerry_lab.registry.scopes_api import ScopesApi
from skerry_lab.registry.service import Registry
from skerry_lab.registry.store import RegistryStore
from skerry_lab.twins import store as twin_store
from skerry_lab.twins.api import TwinsApi
from skerry_lab.twins.service import Twins
from skerry_lab.twins.store import TwinStore
from skerry_lab.twins.views import Views

SCHEMAS = {
    "lab": ("CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL)",),
    "authority": authority.SCHEMA,
    "outbox": OUTBOX_SCHEMA,
    "registry": registry_store.SCHEMA,
    "dps": dps_store.SCHEMA,
    "twins": twin_store.SCHEMA,
    "mqtt": mqtt_session.SCHEMA,
    "telemetry": message_log.SCHEMA,
    "c2d": message_queue.SCHEMA,
    "records": message_records.SCHEMA,
    "uploads": message_uploads.SCHEMA,
    "configurations": configuration_store.SCHEMA,
}
"""Domain -> its scripts; a change is one more script, never an edit."""

_PORT = re.compile(r":\d{1,5}$")


@dataclass(frozen=True)
class Names:
    """The names of the hub: `own` is what devices are told, `others` are accepted beside it."""

    own: str
    others: tuple[str, ...] = ()

    def is_own(self, host: str) -> bool:
        """Compare without regard to case and port."""
        known = {_bare(name) for name in (self.own, *self.others, *authority.LOOPBACK_NAMES)}
        return _bare(host) in known


@dataclass
class Cloud:
    """The services; to be used on the database's thread, `refusal` anywhere."""

    registry: Registry
    authorities: Authorities
    policies: PolicyStore
    dps: DpsStore
    provisioning: DpsApi = field(repr=False)
    id_scope: str
    names: Names
    clock: Clock
    log: Logger = field(repr=False)
    outbox: Outbox = field(repr=False)
    access: Access = field(repr=False)
    messages: Messages = field(repr=False)
    twins: Twins = field(repr=False)
    presence: Presence = field(repr=False)
    views: Views = field(repr=False)
    deployments: Deployments = field(repr=False)
    configurations: Configurations = field(repr=False)
    targeting: Targeting = field(repr=False)
    sessions: SessionStore = field(repr=False)
    uploads: Uploads = field(repr=False)
    router: Router[Handler] = field(repr=False)

    def answer(self, request: Request) -> Answer:
        """Answer a request. Raises: ApiError and defects, so that nothing of them is stored."""
        found = self.router.find(request)
        if found is not None:
            handler, parameters = found
            return handler(request, **parameters)
        if self.router.knows(request.path):
            raise HubError(405, "MethodNotAllowed", f"{request.method} is not allowed here")
        raise HubError(404, "NotFound", "no such resource")

    def refusal(self, error: Exception) -> Answer:
        """Return the answer for what `answer` raised."""
        tracking_id = secrets.token_hex(16)
        if not isinstance(error, ApiError):
            self.log.exception("request failed", tracking=tracking_id)
            error = HubError(500, "ServerError", "internal error; see the log of the lab")
        return error.answer(tracking_id, self.clock.now())


def open_cloud(
    connection: sqlite3.Connection,
    *,
    clock: Clock,
    log: Logger,
    names: Names | None,
    wrap: Wrap,
    settings: DpsSettings,
    messages: MessageSettings | None = None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> Cloud:
    """Put the services together; what every lab has from its start is made if it is missing.

    `names` None are those that a server was last started with.
    """
    id_scope = _id_scope(connection, random_bytes)
    hub = _names(connection, names)
    policies = PolicyStore(connection)
    policies.ensure(random_bytes)
    outbox = Outbox(connection)
    registry = Registry(RegistryStore(connection), outbox, clock, random_bytes)
    authorities = Authorities(registry.store, outbox, clock, random_bytes)
    store = DpsStore(connection)
    attestor = Attestor(store, wrap, random_bytes, authorities.verified)
    provisioning = Provisioning(store, registry, attestor, settings, random_bytes, hub.own)
    access = Access(registry, policies, clock, hub.is_own)
    messaging = Messages(
        connection, registry, outbox, clock, messages or MessageSettings(), random_bytes
    )
    twins = Twins(TwinStore(connection), registry, outbox, clock)
    sessions = SessionStore(connection)
    presence = Presence()
    marks = ConfigurationStore(connection)
    views = Views(registry, twins, presence, marks)
    deployments = Deployments(registry, twins)
    targeting = Targeting(marks, registry, twins, views, deployments, log)
    configurations = Configurations(marks, targeting, clock, random_bytes)
    registry.on_change(targeting.registered)
    twins.on_change(targeting.changed)
    registry.on_removal(marks.forget)
    registry.on_removal(twins.forget)
    registry.on_removal(sessions.delete)
    dps = DpsApi(id_scope, store, attestor, provisioning, settings, clock)
    apis = (
        dps.routes()
        + DpsServiceApi(store, access, registry.fresh_keys, hub.own).routes()
        + RegistryApi(registry, access, presence).routes()
        + AuthoritiesApi(authorities, access).routes()
        + ScopesApi(registry, access).routes()
        + BulkApi(Bulk(connection, registry, twins), access).routes()
        + ConfigurationsApi(deployments, configurations, access).routes()
        + TwinsApi(twins, views, access).routes()
        + MessagesApi(messaging, access, clock).routes()
        + DeviceMessagesApi(messaging, access).routes()
    )
    return Cloud(
        registry=registry,
        authorities=authorities,
        policies=policies,
        dps=store,
        provisioning=dps,
        id_scope=id_scope,
        names=hub,
        clock=clock,
        log=log,
        outbox=outbox,
        access=access,
        messages=messaging,
        twins=twins,
        presence=presence,
        views=views,
        deployments=deployments,
        configurations=configurations,
        targeting=targeting,
        sessions=sessions,
        uploads=Uploads(connection, messaging.records, random_bytes),
        router=Router(apis),
    )


def _id_scope(connection: sqlite3.Connection, random_bytes: Callable[[int], bytes]) -> str:
    row = connection.execute("SELECT value FROM setting WHERE name = 'id_scope'").fetchone()
    if row is not None:
        return str(row["value"])
    scope = f"0ne{random_bytes(4).hex().upper()}"
    connection.execute("INSERT INTO setting VALUES ('id_scope', ?)", (scope,))
    DpsStore(connection).set_hubs([""])
    return scope


def _names(connection: sqlite3.Connection, names: Names | None) -> Names:
    if names is not None:
        text = json.dumps([names.own, *names.others])
        connection.execute("INSERT OR REPLACE INTO setting VALUES ('names', ?)", (text,))
        return names
    row = connection.execute("SELECT value FROM setting WHERE name = 'names'").fetchone()
    own, *others = json.loads(row["value"]) if row else ["localhost"]
    return Names(own, tuple(others))


def _bare(host: str) -> str:
    return _PORT.sub("", host.lower()).strip("[]")
