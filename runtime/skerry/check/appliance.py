"""The appliance as checks see it: its folders, its collaborators, and facts that many checks share.

A fact is looked up once for all checks, by whichever needs it first; a failure is a fact too and is
raised again for each of them.
"""

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cryptography import x509

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.files import read_limited
from skerry.base.https import Proxy
from skerry.base.settings import load_settings
from skerry.certs.client import CertsClient
from skerry.config.disk import RealDisk
from skerry.config.document import Document, read
from skerry.config.generations import Generation, Generations
from skerry.config.site import Ids, Paths
from skerry.engine.model import EngineInfo
from skerry.keys.client import KeysClient

_MAX_BYTES = 4 * 1024 * 1024
_T = TypeVar("_T")


@dataclass(frozen=True)
class Unit:
    """A unit as systemd has it."""

    name: str
    load: str
    active: str
    sub: str
    status: int
    restarts: int
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return self.active == "failed" or self.sub == "auto-restart"


class Units(Protocol):
    """systemd; every call raises SkerryError."""

    def states(self, names: tuple[str, ...]) -> Mapping[str, Unit]:
        """Return the units that systemd knows by name; empty on a machine without systemd."""
        ...

    def run(self, *command: str) -> str:
        """Run a command of the system and return what it printed."""
        ...


@dataclass(frozen=True)
class Usage:
    """How full a file system is."""

    free_bytes: int
    total_bytes: int
    free_inodes: int
    total_inodes: int


class Network(Protocol):
    """The way out; every call raises OSError or SkerryError and ends within its time."""

    def resolve(self, host: str, seconds: float) -> list[str]: ...

    def tls(
        self, host: str, port: int, roots: tuple[str, ...], proxy: Proxy | None, seconds: float
    ) -> str:
        """Do a TLS handshake that verifies the server; returns the protocol's version."""
        ...

    def clock_offset(self, server: str, seconds: float) -> float:
        """Return how many seconds an NTP server is ahead of this machine."""
        ...


class EngineView(Protocol):
    """The container engine, looked at; every call raises EngineError and its kinds."""

    def info(self) -> EngineInfo: ...

    def containers(self, label: str) -> list[str]: ...

    def describe(self, name: str) -> dict[str, Any]:
        """Return a container in the engine's own JSON."""
        ...

    def describe_image(self, reference: str) -> dict[str, Any]: ...

    def describe_network(self, name: str) -> dict[str, Any]: ...

    def run_once(self, body: Mapping[str, object], seconds: int) -> tuple[int, str]:
        """Run a container to its end and remove it; returns its status and standard output."""
        ...


@dataclass(frozen=True)
class Options:
    """What the command line says beside the ids."""

    iothub_hostname: str | None = None
    proxy_uri: str | None = None
    ntp_server: str = "pool.ntp.org"
    expected_version: str | None = None
    diagnostics_image: str | None = None
    engine_config: Path = Path("/etc/docker/daemon.json")
    connect_seconds: float = 10.0


@dataclass(frozen=True)
class Appliance:
    """Folders and collaborators; `root` is where /proc, /sys, /dev and /etc lie."""

    clock: Clock
    units: Units
    network: Network
    engine_at: Callable[[str], EngineView]
    usage: Callable[[Path], Usage]
    hostname: str
    is_root: bool
    paths: Paths = field(default_factory=Paths)
    run: Path = Path("/run/skerry")
    images: Path = Path("/usr/lib/skerry/images")
    root: Path = Path("/")
    options: Options = field(default_factory=Options)
    management: Path | None = None
    facts: "Facts" = field(default_factory=lambda: Facts())

    def socket(self, service: str) -> Path:
        """Return the socket of a service; edged's is the management API's."""
        if service == "edged":
            return self.management or self.run / "mgmt.sock"
        return self.run / f"{service}.sock"

    def settings(self, service: str) -> dict[str, Any]:
        """Return the merged settings of a service; raises SettingsError."""
        return self.facts.once(
            f"settings {service}", lambda: load_settings(self.paths.etc / service)
        )

    def generation(self) -> Generation | None:
        """Return the configuration in force; raises OSError and SkerryError."""
        return self.facts.once("generation", self._generation)

    def document(self) -> Document | None:
        """Return config.toml, read and checked; None where there is none."""
        return self.facts.once("document", self._document)

    def engine(self) -> EngineView:
        """Return the container engine of the settings."""
        return self.facts.once("engine", lambda: self.engine_at(self.engine_uri()))

    def engine_uri(self) -> str:
        uri = table(self.settings("edged"), "moby_runtime").get("uri")
        return uri if isinstance(uri, str) else "unix:///var/run/docker.sock"

    def modules(self) -> dict[str, dict[str, Any]]:
        """Return the modules' containers in the engine's JSON, by name; raises EngineError."""
        return self.facts.once("modules", self._modules)

    def certificate(self, cert_id: str) -> list[x509.Certificate]:
        """Return a chain from certd; raises ApiError, UnreachableError and SkerryError."""
        return self.facts.once(f"certificate {cert_id}", lambda: self._certificate(cert_id))

    def certs(self) -> CertsClient:
        return self.facts.once("certs", lambda: CertsClient(self.socket("certd")))

    def keys(self) -> KeysClient:
        return self.facts.once("keys", lambda: KeysClient(self.socket("keyd")))

    def text(self, path: str) -> str:
        """Return a file of the system, empty where there is none; the path is relative to /."""
        try:
            return (self.root / path).read_text("utf-8", "replace")
        except OSError:
            return ""

    def _generation(self) -> Generation | None:
        try:
            return Generations(self.paths, Ids(), RealDisk()).current()
        except (KeyError, TypeError, ValueError) as problem:
            raise SkerryError(f"{self.paths.current} is not a generation: {problem!r}") from problem

    def _document(self) -> Document | None:
        path = self.paths.installed
        try:
            data = read_limited(path, _MAX_BYTES)
        except FileNotFoundError:
            return None
        generation = self.generation()
        return read(data, str(path), dict(generation.secrets) if generation else None)

    def _modules(self) -> dict[str, dict[str, Any]]:
        from skerry.workloads.model import OWNED

        engine = self.engine()
        found = [engine.describe(one) for one in engine.containers(OWNED)]
        return {str(one["Name"]).lstrip("/"): one for one in found}

    def _certificate(self, cert_id: str) -> list[x509.Certificate]:
        pem = self.certs().get(cert_id)
        try:
            return x509.load_pem_x509_certificates(pem)
        except ValueError as problem:
            raise SkerryError(f"certificate {cert_id!r} cannot be read: {problem}") from problem


class Facts:
    """Values that are made once, whoever asks first, and failures that are kept like values."""

    def __init__(self) -> None:
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._values: dict[str, object] = {}

    def once(self, name: str, make: Callable[[], _T]) -> _T:
        """Return the value of a name, made by the first caller; raises what making it raised."""
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            if name not in self._values:
                try:
                    self._values[name] = make()
                except (SkerryError, OSError) as problem:
                    self._values[name] = _Failure(problem)
        value: Any = self._values[name]
        if isinstance(value, _Failure):
            raise value.error
        made: _T = value
        return made


@dataclass(frozen=True)
class _Failure:
    error: Exception


def table(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a table of a table; empty where there is none."""
    value = holder.get(name)
    return value if isinstance(value, Mapping) else {}


def is_superuser() -> bool:
    """Tell whether this process is root."""
    return os.geteuid() == 0
