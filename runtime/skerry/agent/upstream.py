"""The agent's way to its hub, as the environment says: where, as whom, and what it answers there.

A device without a cloud is its own hub and has no way.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import skerry
from skerry.agent.blobs import Uploader
from skerry.agent.client import EdgedClient
from skerry.agent.figures import Figures
from skerry.agent.hub import HubLink, HubSettings
from skerry.agent.methods import BuiltIn, Place
from skerry.agent.model import AGENT_MODULE
from skerry.agent.tasks import Tasks
from skerry.agent.ways import ways_of
from skerry.base.clock import Clock
from skerry.base.https import HttpsClient, proxy_from
from skerry.base.log import Logger
from skerry.module.workload import WorkloadClient

_UPLOADS_AT_ONCE = 2


def hub_link(
    environment: Mapping[str, str],
    storage: Path,
    edged: EdgedClient,
    *,
    changed: Callable[[], None],
    figures: Figures,
    clock: Clock,
    log: Logger,
) -> HubLink | None:
    """Return the connection to the hub, None for a device that is its own; raises AgentError.

    `changed` is called at every news of it.
    """
    hub = environment.get("IOTEDGE_IOTHUBHOSTNAME", "")
    generation = environment.get("IOTEDGE_MODULEGENERATIONID", "")
    if not hub or not generation or hub == environment.get("EdgeDeviceHostName"):
        return None
    device, module = environment.get("IOTEDGE_DEVICEID", ""), f"${AGENT_MODULE}"
    socket_path = Path(urlsplit(environment["IOTEDGE_WORKLOADURI"]).path)
    version = environment["IOTEDGE_APIVERSION"]
    workload = WorkloadClient(socket_path, version, module, generation)
    gateway = environment.get("IOTEDGE_GATEWAYHOSTNAME", "")
    proxy = proxy_from(environment)
    ways = ways_of(environment, proxy)
    pool = ThreadPoolExecutor(_UPLOADS_AT_ONCE, thread_name_prefix="agent-upload")
    methods = BuiltIn(
        edged,
        Place(hub, device, gateway),
        Tasks(storage, pool, log),
        Uploader(lambda: HttpsClient(workload.trust(), proxy=proxy), time.sleep),
        clock,
        figures.called,
    )
    product = f"EdgeAgent/{skerry.__version__}"
    return HubLink(
        HubSettings(_without_port(gateway or hub), hub, device, module, ways, product),
        token=lambda now: workload.token(f"{hub}/devices/{device}/modules/{module}", now),
        trust=workload.trust,
        methods=methods,
        changed=changed,
        synced=figures.synced,
        clock=clock,
        log=log,
    )


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
