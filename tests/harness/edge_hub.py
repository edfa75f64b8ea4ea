"""An edge hub in a thread, below a lab cloud, with the clients that the lab knows."""

import asyncio
import json
import ssl
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self, cast

from harness.edged import until
from harness.lab import make_token, signed
from harness.mqtt import MqttDevice
from skerry.base.clock import SystemClock
from skerry.base.https import HttpsClient, trust_context
from skerry.base.log import get_logger
from skerry.heads.tls import server_context
from skerry.hub.cloud.clients import CloudClients
from skerry.hub.cloud.link import Upstream
from skerry.hub.cloud.scope_pages import fetch_scope
from skerry.hub.hub import MOST_CLIENTS, Hub, HubSettings
from skerry.hub.scope import Scope
from skerry.hub.server import ServerSettings
from skerry.hub.store.model import StoreSettings
from skerry.hub.store.store import Store
from skerry.wire.identity import Identity
from skerry.wire.sas import FreshToken
from skerry_lab.registry.model import Module
from skerry_lab.server import Lab

DEVICE = "edge"
HUB = Identity(DEVICE, "$edgeHub")
CLIENTS = tuple(map(Identity.parse, ("edge/a", "edge/b", "leaf", "stranger")))
TOKEN_SECONDS = 3600.0
ANYWHERE = ServerSettings("127.0.0.1", 0, 0)
ROUTES = {
    "up": "FROM /messages/* INTO $upstream",
    "in": 'FROM /messages/modules/a/outputs/* INTO BrokeredEndpoint("/modules/b/inputs/in1")',
}


def desired(routes: Mapping[str, object] = ROUTES) -> dict[str, object]:
    """Desired properties of a hub."""
    store = {"timeToLiveSecs": 7200}
    return {"schemaVersion": "1.1", "routes": routes, "storeAndForwardConfiguration": store}


def populate(lab: Lab) -> None:
    """Register an edge device with two modules, a leaf device below it, and a stranger."""
    lab.registry.create_device(DEVICE)
    lab.registry.create_device("leaf", edge=False)
    lab.registry.create_device("stranger", edge=False)
    lab.registry.set_parent("leaf", DEVICE)
    for name in ("a", "b"):
        lab.store.do(
            lambda c, name=name: c.registry.put_module(  # type: ignore[misc]
                Module(DEVICE, name, c.registry.fresh_keys())
            )
        )
    lab.store.do(lambda cloud: cloud.twins.patch(HUB, desired=desired()))


def key_of(lab: Lab, identity: Identity) -> bytes:
    """Return the key of a client."""
    if identity.module_id is None:
        return lab.registry.device(identity.device_id).authentication.keys[0]
    modules = {module.module_id: module for module in lab.registry.modules(identity.device_id)}
    return modules[identity.module_id].authentication.keys[0]


@dataclass
class EdgeHub:
    """A hub of the device `edge`, below `lab`; `with` starts and stops it."""

    folder: Path
    lab: Lab
    token_seconds: float = TOKEN_SECONDS
    server: ServerSettings = ANYWHERE
    report_seconds: float = 5.0
    most_clients: int = MOST_CLIENTS
    message_bytes_per_day: int | None = None
    is_web: bool = False
    """Whether the cloud is reached over WebSocket."""
    clock: SystemClock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        # asked now, for the lab may be away later
        self.folder.mkdir(exist_ok=True)
        self.keys = {one: key_of(self.lab, one) for one in (HUB, *CLIENTS)}
        self.root_pem, self.hub_name = self.lab.root_pem, self.lab.hub_name

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

    def start(self) -> None:
        """Start, with what the folder holds."""
        start = self.clock.now() - timedelta(hours=1)
        self.authority = signed("gateway root", authority=True, start=start)
        address = self.server.host if self.server.host != "127.0.0.1" else ""
        server = signed("localhost", self.authority, start=start, address=address or "")
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, args=(server.write(self.folder),))
        self._thread.start()
        self._started.result(20)

    def stop(self) -> None:
        """Stop, and keep the folder."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    @property
    def cloud(self) -> CloudClients:
        """The connections to the lab."""
        assert self.hub.cloud is not None
        return self.hub.cloud

    def ask(self, work: Any) -> Any:
        """Run a coroutine on the hub's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def device(self, identity: Identity, **changes: Any) -> MqttDevice:
        """Return a client that dials this hub, not connected yet."""
        facts = SimpleNamespace(
            hub_name=self.hub_name,
            mqtt_port=self.hub.server.mqtt_port,
            root_pem=self.authority.pem,
            clock=self.clock,
        )
        return MqttDevice(cast("Lab", facts), identity, self.keys[identity], **changes)

    def call(
        self, line: str, body: object, *, caller: str | None = "edge/a", key: bytes | None = None
    ) -> tuple[int, Any]:
        """Call `"METHOD /path"` of the hub's HTTPS as a module; returns status and JSON."""
        method, path = line.split()
        headers = {}
        if caller is not None:
            identity = Identity.parse(caller)
            headers["x-ms-edge-moduleId"] = caller
            audience = f"{self.hub_name}/devices/{identity.device_id}/modules/{identity.module_id}"
            later = self.clock.now().timestamp() + 60
            signer = self.keys.get(identity, b"") if key is None else key
            headers["Authorization"] = make_token(audience, signer, later)
        https = HttpsClient(trust_context([self.authority.pem]), timeout_seconds=20.0)
        url = f"https://localhost:{self.hub.server.https_port}{path}"
        answer = https.request(method, url, headers=headers, body=json.dumps(body).encode())
        return answer.status, json.loads(answer.body)

    def until_ready(self) -> None:
        """Wait until scope and settings of the cloud are in force."""
        until(lambda: len(self.hub.scope.clients) > 2, "the hub has its scope")
        until(lambda: self.hub.has_settings, "the hub has its settings")

    def _serve(self, certificate: Path) -> None:
        try:
            asyncio.run(self._run(certificate))
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _run(self, certificate: Path) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        log = get_logger("hub")
        store = Store(self.folder / "store", StoreSettings(min_free_bytes=0), self.clock, log)
        store.open()
        try:
            settings = HubSettings(
                DEVICE,
                frozenset({self.hub_name, self.server.host or "localhost"}),
                self.server,
                self.report_seconds,
                self.most_clients,
                message_bytes_per_day=self.message_bytes_per_day,
            )
            upstream = Upstream(
                "localhost",
                self.lab.https_port if self.is_web else self.lab.mqtt_port,
                self.hub_name,
                DEVICE,
                self._token,
                lambda: ssl.create_default_context(cadata=self.root_pem),
                is_web=self.is_web,
            )
            self.hub = Hub(
                settings,
                store,
                upstream,
                self._scope,
                server_context(certificate),
                lambda: [self.authority.chain[0]],
                self.clock,
                log,
            )
            await self.hub.start()
            self._started.set_result(None)
            await self._ended.wait()
            await self.hub.stop()
        finally:
            store.close()

    async def _token(self) -> FreshToken:
        now = self.clock.now().timestamp()
        audience = f"{self.hub_name}/devices/{DEVICE}/modules/$edgeHub"
        text = make_token(audience, self.keys[HUB], now + self.token_seconds)
        return FreshToken(text, now + self.token_seconds / 2)

    async def _scope(self) -> Scope:
        token = (await self._token()).text
        https = HttpsClient(trust_context([self.root_pem]), timeout_seconds=5.0)
        base = f"https://{self.hub_name}"
        return await asyncio.to_thread(fetch_scope, https, base, DEVICE, token)
