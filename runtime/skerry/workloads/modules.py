"""The modules of this device: containers with our label, one operation at a time on each.

Whatever else runs in the engine is not seen and not touched.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from skerry.base.http import HttpError
from skerry.base.log import Logger
from skerry.engine.errors import EngineError, EngineNotFoundError
from skerry.engine.model import Container, Engine, LogQuery, LogStream, RegistryAuth
from skerry.workloads import ports, trust
from skerry.workloads.container import create_body
from skerry.workloads.images import Images
from skerry.workloads.model import OWNED, OWNER, OWNER_LABEL, ModuleSpec
from skerry.workloads.preflight import Preflight
from skerry.workloads.secret_files import SecretFiles, label_of, named_by
from skerry.workloads.seen import Seen
from skerry.workloads.settings import Settings
from skerry.workloads.sockets import ModuleSockets

STOP_SECONDS = 30

Completed = tuple[ModuleSpec, Mapping[str, str]]
"""A module as it is created, and labels beside those that every module has."""


class Modules:
    """Lists, makes, changes and removes modules; raises EngineError and WorkloadsError."""

    def __init__(
        self,
        engine: Engine,
        images: Images,
        sockets: ModuleSockets,
        secrets: SecretFiles,
        settings: Settings,
        log: Logger,
        complete: Callable[[ModuleSpec], Completed],
        resolve: Callable[[str], str],
    ) -> None:
        self._engine = engine
        self._images = images
        self._sockets = sockets
        self._secrets = secrets
        self._settings = settings
        self._log = log
        self._complete = complete
        self._resolve = resolve
        self._busy: dict[str, threading.RLock] = {}
        self._preflight = Preflight(engine)
        self._seen = Seen(engine, time.monotonic)

    def all(self) -> list[Container]:
        """Return every module, by name."""
        return self._seen.all(OWNED)

    def get(self, name: str) -> Container:
        """Return a module; raises EngineNotFoundError."""
        container = self._engine.inspect(name)
        if container.name != name or container.labels.get(OWNER_LABEL) != OWNER:
            raise EngineNotFoundError(f"no module {name!r}")
        return container

    def find(self, name: str) -> Container | None:
        """Return a module; None when there is none."""
        try:
            return self.get(name)
        except EngineNotFoundError:
            return None

    def create(self, spec: ModuleSpec) -> Container:
        """Fetch the image as the policy says, and make the container; it does not start."""
        with self.alone(spec.name):
            return self._create(spec)

    def replace(self, spec: ModuleSpec, *, start: bool) -> Container:
        """Make a module anew. The old one goes only when the new one's image is there."""
        with self.alone(spec.name):
            self.prepare(spec)
            if self.find(spec.name) is not None:
                self._engine.stop(spec.name, STOP_SECONDS)
                self._engine.remove(spec.name)
            made = self._create(spec)
            if start:
                try:
                    self.start(spec.name)
                except EngineError as error:
                    self._log.warning("module not started", module=spec.name, reason=error)
                return self.get(spec.name)
            return made

    def prepare(self, spec: ModuleSpec) -> None:
        """Make a module's image available, and see that it can be used here."""
        auth = spec.auth and RegistryAuth(
            {name: self._resolve(value) for name, value in spec.auth.fields.items()}
        )
        self._secrets.check(spec.secrets)
        image = self._resolve(spec.image)
        if not (spec.configured or self._images.carried(image)):
            trust.check(image, spec.signatures, self._settings.image_trust)
        self._preflight.before(image)
        self._images.ensure(image, spec.pull_policy, auth)
        self._preflight.after(image)

    def rehearse(self, spec: ModuleSpec) -> None:
        """Do what can be done for a module before anything is changed; raises PortError too."""
        self.prepare(spec)
        ours = {port for module in self.all() for port in module.ports}
        ports.check(spec.create_options, ours)

    def start(self, name: str) -> None:
        with self.alone(name):
            self._lay_out(self.get(name))
            self._engine.start(name)
            self._log.info("module started", module=name)

    def stop(self, name: str) -> None:
        with self.alone(name):
            self.get(name)
            self._engine.stop(name, STOP_SECONDS)
            self._log.info("module stopped", module=name)

    def restart(self, name: str) -> None:
        with self.alone(name):
            self._lay_out(self.get(name))
            self._engine.restart(name, STOP_SECONDS)
            self._log.info("module restarted", module=name)

    def remove(self, name: str) -> None:
        """Remove a module, running or not, and its sockets."""
        with self.alone(name):
            image_id = self.get(name).image_id
            self._engine.remove(name)
            self._sockets.remove(name)
            self._secrets.remove(name)
            self._images.released(image_id)
            self._log.info("module removed", module=name)

    def logs(self, name: str, query: LogQuery) -> LogStream:
        self.get(name)
        return self._engine.logs(name, query)

    def secrets(self) -> dict[str, tuple[str, ...]]:
        """Return the secrets of the modules that are there and have some."""
        found = {module.name: named_by(module.labels) for module in self.all()}
        return {module: names for module, names in found.items() if names}

    def adopt(self) -> list[str]:
        """Serve the sockets of the modules that are there, and of no others; returns the names."""
        names = [container.name for container in self.all()]
        for name in names:
            self._sockets.ensure(name)
        self._sockets.keep_only(set(names))
        self._secrets.keep_only(set(self.secrets()))
        return names

    def _create(self, spec: ModuleSpec) -> Container:
        self.prepare(spec)
        completed, labels = self._complete(spec)
        folder = self._sockets.ensure(spec.name)
        secrets = self._secrets.ensure(spec.name, spec.secrets)
        try:
            body = create_body(
                completed,
                image=self._resolve(spec.image),
                sockets=folder,
                network=self._settings.network.name,
                elevated_permissions=self._settings.elevated_permissions,
                labels={**labels, **label_of(spec.secrets)},
                secrets=secrets,
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise HttpError(
                422, f"createOptions of {spec.name!r} are not those of a container: {error}"
            ) from error
        self._engine.create(spec.name, body)
        self._log.info("module created", module=spec.name, image=spec.image)
        return self.get(spec.name)

    def _lay_out(self, container: Container) -> None:
        """Make what the engine mounts into a container that is about to start."""
        self._sockets.ensure(container.name)
        self._secrets.ensure(container.name, named_by(container.labels))

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Keep everybody else from this module, for several calls that belong together."""
        with self._busy.setdefault(name, threading.RLock()):
            yield
