"""The hub as a process: `python3 -m skerry.hub.service`, in the container edgeHub.

Configured by the environment that edged gives it (surroundings.py) and by its desired properties.
Exit status: 0 ended by SIGTERM, 1 environment, store or port cannot be used.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import skerry
from skerry.base.clock import Clock, SystemClock
from skerry.base.errors import SkerryError
from skerry.base.https import HttpsClient, proxy_from, trust_context
from skerry.base.log import Logger, get_logger
from skerry.heads.tls import bound_buffers
from skerry.hub.cloud.link import Upstream
from skerry.hub.cloud.scope_pages import fetch_scope
from skerry.hub.hub import REFRESH_SECONDS, Hub, HubSettings
from skerry.hub.scope import Scope, read_local
from skerry.hub.sealing import open_documents
from skerry.hub.server import ServerSettings
from skerry.hub.server_certificate import ServerIdentity
from skerry.hub.store.documents import Documents
from skerry.hub.store.model import StoreSettings
from skerry.hub.store.store import Store
from skerry.hub.surroundings import Surroundings, read_surroundings
from skerry.module.lines import log_to
from skerry.module.metrics_server import serve_metrics
from skerry.module.workload import WorkloadClient
from skerry.wire.sas import FreshToken

_SWITCH_SECONDS = 0.001
"""How soon the loop lets go of the interpreter: the store's thread asks for it several times a
commit (docs/decisions/0155)."""

_SCOPE_SECONDS = 20.0
_OFFER_SECONDS = 5.0
"""Between two looks at a small file of edged's."""


class Edge:
    """The hub's ways to edged and to what is above it; they outlive no process."""

    def __init__(
        self, around: Surroundings, environment: Mapping[str, str], clock: Clock, log: Logger
    ) -> None:
        self._around = around
        self._clock = clock
        self._log = log
        self._proxy = proxy_from(environment)
        self._workload = WorkloadClient(
            around.socket_path, around.api_version, around.module_id, around.generation_id
        )
        self.identity = ServerIdentity(
            self._workload, around.hostname, clock, log, around.renew_after, around.tls
        )
        self.upstream = self._upstream() if around.has_cloud else None

    def _upstream(self) -> Upstream:
        around = self._around
        return Upstream(
            _without_port(around.parent or around.hub_name),
            around.upstream_port,
            around.hub_name,
            around.device_id,
            self._token,
            lambda: trust_context(self._roots()),
            f"EdgeHub/{skerry.__version__}",
            around.is_web,
            self._proxy,
        )

    async def scope(self) -> Scope:
        """Ask the cloud, the parent or, where there is neither, edged whom the hub answers for."""
        if self.upstream is None:
            return read_local(await asyncio.to_thread(self._workload.scope))
        token = await self._token()
        https = HttpsClient(
            trust_context(self._roots()), timeout_seconds=_SCOPE_SECONDS, proxy=self._proxy
        )
        base = f"https://{self._around.parent or self._around.hub_name}"
        device = self._around.device_id
        return await asyncio.to_thread(fetch_scope, https, base, device, token.text)

    async def open_documents(self, documents: Documents) -> None:
        """Have the store's documents encrypted by a key that edged keeps for the hub."""
        await open_documents(documents, self._workload, os.urandom, self._log)

    async def own_settings(self) -> object | None:
        """Return `$edgeHub`'s desired properties of the device's own deployment, if it has one."""
        found = await asyncio.to_thread(self._workload.deployment)
        for name in ("modulesContent", "$edgeHub", "properties.desired"):
            found = found.get(name) if isinstance(found, dict) else None
        return found

    async def _token(self) -> FreshToken:
        around = self._around
        audience = f"{around.hub_name}/devices/{around.device_id}/modules/{around.module_id}"
        now = self._clock.now().timestamp()
        return await asyncio.to_thread(self._workload.token, audience, now)

    def _roots(self) -> list[str]:
        return [self.identity.bundle] if self.identity.bundle else []


async def serve(environment: Mapping[str, str], ended: asyncio.Event) -> None:
    """Serve until `ended` is set. Raises: SkerryError for what cannot be used."""
    around = read_surroundings(environment)
    clock, log = SystemClock(), get_logger("hub")
    store = Store(around.storage, StoreSettings(durability=around.durability), clock, log)
    store.open()
    try:
        edge = Edge(around, environment, clock, log)
        opening = asyncio.create_task(edge.identity.open())
        if not await _before(opening, ended):
            return
        unsealing = asyncio.create_task(edge.open_documents(store.documents))
        if not await _before(unsealing, ended):
            return
        unsealing.result()
        hub = Hub(
            HubSettings(
                around.device_id,
                around.names,
                ServerSettings(mqtt_port=around.mqtt_port, https_port=around.https_port),
                around.report_seconds,
                around.most_clients,
                REFRESH_SECONDS if around.has_cloud else _OFFER_SECONDS,
                around.message_bytes_per_day,
            ),
            store,
            edge.upstream,
            edge.scope,
            opening.result(),
            lambda: edge.identity.anchors,
            clock,
            log,
        )
        await hub.start()
        metrics = serve_metrics(hub.figures.text, around.metrics_port, log)
        beside = [
            asyncio.create_task(edge.identity.run()),
            asyncio.create_task(_offer(edge, hub, log)),
        ]
        log.info("edge hub serves", mqtt=hub.server.mqtt_port, https=hub.server.https_port)
        try:
            await ended.wait()
        finally:
            for task in beside:
                task.cancel()
            if metrics is not None:
                await asyncio.to_thread(metrics.shutdown)
                metrics.server_close()
            await hub.stop()
    finally:
        await asyncio.to_thread(store.close)


async def _offer(edge: Edge, hub: Hub, log: Logger) -> None:
    """Tell the hub what the device's own deployment says, whenever that changes."""
    said = ""
    while True:
        try:
            found = await edge.own_settings()
        except SkerryError as error:
            if str(error) != said:
                said = str(error)
                log.warning("the device's deployment is not read", reason=said)
        else:
            said = ""
            if found is not None:
                hub.offer(found)
        await asyncio.sleep(_OFFER_SECONDS)


async def _before(task: "asyncio.Task[Any]", ended: asyncio.Event) -> bool:
    """Wait for a task; False when the end came first."""
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return False
    return True


async def run(environment: Mapping[str, str]) -> int:
    """Serve until SIGTERM; returns the exit status."""
    log, ended, loop = get_logger("hub"), asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    log.info("edge hub started", version=skerry.__version__)
    try:
        await serve(environment, ended)
    except SkerryError as error:
        log.error("cannot go on", reason=error)
        return 1
    log.info("edge hub stopped")
    return 0


def main() -> int:
    """Run in this process's environment."""
    environment = dict(os.environ)
    log_to(sys.stderr, environment.get("RuntimeLogLevel", "Information"))
    sys.setswitchinterval(_SWITCH_SECONDS)
    bound_buffers()
    return asyncio.run(run(environment))


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


if __name__ == "__main__":
    sys.exit(main())
