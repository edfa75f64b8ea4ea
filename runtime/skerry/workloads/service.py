"""edged as a process: `python3 -m skerry.workloads.service`.

Its sockets answer from the first moment, also while there is no engine and no identity; the rest
goes on in the supervisor's thread. When it ends, by signal or crash, every container runs on.
SKERRY_IMAGES names the folder of preload.json, where it is not /usr/lib/skerry/images;
RUNTIME_DIRECTORY, as systemd sets it, the one for the secrets of modules.
"""

import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from skerry.base.client import ServiceClient
from skerry.base.errors import SettingsError, SkerryError
from skerry.base.http import Router
from skerry.base.log import get_logger, setup
from skerry.base.peer import Peer, container_id
from skerry.base.server import Listener, Server
from skerry.base.service import (
    EXIT_FAILED,
    EXIT_SETTINGS,
    Context,
    add_config_route,
    notify_ready,
    open_context,
    parse_arguments,
    stopped_by_signals,
)
from skerry.certs.client import CertsClient
from skerry.engine.client import MobyEngine
from skerry.identity.client import IdentityClient
from skerry.keys.client import KeysClient
from skerry.tpm.client import TpmClient
from skerry.workloads.agent import AgentPlan
from skerry.workloads.bootstrap import Bootstrap
from skerry.workloads.bundle import SupportBundles
from skerry.workloads.callers import Callers
from skerry.workloads.certificates import Certificates
from skerry.workloads.collector import Collector, needed_images
from skerry.workloads.deployment import Deployment
from skerry.workloads.device import Device
from skerry.workloads.edge_ca import EdgeCa
from skerry.workloads.image_use import ImageUse
from skerry.workloads.images import Images, read_preload
from skerry.workloads.keyring import Keyring
from skerry.workloads.local_scope import LocalScope
from skerry.workloads.management import ManagementApi
from skerry.workloads.model import ModuleSpec, identity_of
from skerry.workloads.modules import Modules
from skerry.workloads.sealing import KeydSealer, Sealer, TpmSealer
from skerry.workloads.secret_files import Rotation, SecretFiles
from skerry.workloads.settings import Settings, parse_settings
from skerry.workloads.sockets import ModuleSockets
from skerry.workloads.supervisor import Pace, Supervisor
from skerry.workloads.vault import Vault
from skerry.workloads.vault_api import VaultApi
from skerry.workloads.waker import Waker
from skerry.workloads.workload import WorkloadApi

_NAME = "edged"
_SOCKETS = ("mgmt", "workload")
_DEADLINE_VERSION = "2020-09-01"
_IMAGES = "/usr/lib/skerry/images"
_RUN = "/run/skerry-edged"


class Edged:
    """All parts of edged, put together; `status` is what the process ends with."""

    def __init__(
        self,
        context: Context,
        images_dir: Path = Path(_IMAGES),
        container_of: Callable[[Peer], str | None] = container_id,
        pace: Pace | None = None,
        run_dir: Path = Path(_RUN),
    ) -> None:
        settings = parse_settings(context.settings)
        self.status = 0
        self.server = Server([], clock=context.clock, log=context.log)
        self._build(context, settings, images_dir, run_dir, container_of, pace or Pace())

    def end(self, status: int) -> None:
        """End the process with a status."""
        self.status = status
        self.server.stop()

    def _build(
        self,
        context: Context,
        settings: Settings,
        images_dir: Path,
        run_dir: Path,
        container_of: Callable[[Peer], str | None],
        pace: Pace,
    ) -> None:
        clock, log, state = context.clock, context.log, context.state_dir
        (state / "mnt").mkdir(mode=0o755, parents=True, exist_ok=True)
        (state / "mnt").chmod(0o755)
        (state / "cache").mkdir(mode=0o700, exist_ok=True)
        engine = MobyEngine(settings.moby_uri)
        identities = IdentityClient(context.peer("identityd"))
        keys, certs = KeysClient(context.peer("keyd")), CertsClient(context.peer("certd"))
        device, keyring = Device(), Keyring(keys, identities)
        edge_ca = EdgeCa(certs, keys, device, settings.edge_ca, state / "cache", clock, log)
        certificates = Certificates(certs, device, edge_ca)
        self.waker = Waker(
            {
                name: ServiceClient(context.peer(name), _DEADLINE_VERSION)
                for name in ("certd", "identityd")
            },
            lambda: _target(context.config_dir.parent / "current"),
            clock,
            log,
        )
        preloaded = read_preload(images_dir)
        carried = preloaded.get(settings.agent.image)
        plan = AgentPlan(settings, state, carried.id if carried else None)
        use = ImageUse(state / "gc", clock)
        images = Images(engine, preloaded, use, log)
        callers = Callers(engine, settings.agent.name, container_of)
        deployment = Deployment(
            context.config_dir.parent / "current" / "deployment.json",
            state / "cache" / "deployment_status.json",
        )

        def complete(spec: ModuleSpec) -> tuple[ModuleSpec, Mapping[str, str]]:
            if spec.name != settings.agent.name:
                return spec, {}
            identity = identities.update_module(identity_of(spec.name))
            return plan.complete(spec, device.identity(), identity.generation_id or "")

        # the routers and the sockets need each other: sockets ask for theirs when they are opened
        routers: dict[str, Router] = {}
        sockets = ModuleSockets(
            state / "mnt",
            self.server,
            agent=settings.agent.name,
            router=lambda endpoint: routers[endpoint],
            workload_requests=settings.workload_requests,
            management_requests=settings.management_requests,
        )
        sealers: dict[str, Sealer] = {
            "keyd": KeydSealer(keys),
            "tpm": TpmSealer(TpmClient(context.peer("tpmd"))),
        }
        current = context.config_dir.parent / "current"
        vault = Vault(current / "vault.json", state, sealers, log)
        files = SecretFiles(run_dir / "secrets", vault)
        modules = Modules(engine, images, sockets, files, settings, log, complete, device.resolve)
        self.rotation = Rotation(vault, files, modules.secrets, log)
        fixed = {settings.agent.image, *preloaded, *(one.id for one in preloaded.values())}

        def needed() -> set[str]:
            return {device.resolve(image) for image in fixed | needed_images(deployment)}

        self.collector = Collector(engine, use, settings.collection, needed, clock, log)
        bootstrap = Bootstrap(
            settings,
            state,
            device,
            identities,
            edge_ca,
            engine,
            images,
            modules,
            log,
            self.waker.ask_again,
        )
        self.supervisor = Supervisor(
            settings, plan, bootstrap, modules, engine, clock, log, self.end, pace
        )
        management = ManagementApi(
            modules,
            engine,
            callers,
            identities,
            keyring,
            deployment,
            settings,
            clock,
            log,
            self.supervisor.reprovision,
            SupportBundles(settings.moby_uri, context.config_dir.parent, clock, log),
        )
        scope = LocalScope(identities, keys, current / "leaf_devices.json")
        workload = WorkloadApi(
            modules, callers, keyring, certificates, deployment, scope, settings, log
        )
        routers |= {
            "mgmt": management.router(),
            "agent": management.agent_router(),
            "workload": workload.router(),
        }
        VaultApi(vault, modules, log).add_to(routers["mgmt"])
        limits = {"mgmt": settings.management_requests, "workload": settings.workload_requests}
        for name in _SOCKETS:
            add_config_route(routers[name], context.digest)
            listener = Listener(name, context.sockets[name], routers[name], limits[name])
            self.server.add_listener(listener)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run edged; returns the exit status."""
    options = parse_arguments(_NAME, arguments)
    setup(_NAME)
    log = get_logger(_NAME)
    try:
        context = open_context(_NAME, _SOCKETS, options, log)
        edged = Edged(
            context,
            Path(os.environ.get("SKERRY_IMAGES", _IMAGES)),
            run_dir=Path(os.environ.get("RUNTIME_DIRECTORY", _RUN)),
        )
    except SettingsError as error:
        log.error("settings refused", reason=error)
        return EXIT_SETTINGS
    except (SkerryError, OSError) as error:
        log.error("cannot start", reason=error)
        return EXIT_FAILED
    with stopped_by_signals(edged.server):
        log.info("started", settings=context.digest[:12])
        notify_ready()
        # what is loaded now stays: the collector need not look at it, nor write to its pages
        gc.freeze()
        edged.supervisor.start()
        edged.waker.start()
        edged.collector.start()
        edged.rotation.start()
        edged.server.run()
    edged.rotation.stop()
    edged.collector.stop()
    edged.waker.stop()
    edged.supervisor.stop()
    log.info("stopped", status=edged.status)
    return edged.status


if __name__ == "__main__":
    sys.exit(main())
