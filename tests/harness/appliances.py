"""An appliance for checks: folders below one root; collaborators answer what a test says."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.lab import SetClock
from skerry.base.errors import SkerryError
from skerry.base.https import Proxy
from skerry.check.appliance import Appliance, Options, Unit, Usage
from skerry.check.discover import all_checks
from skerry.check.model import Finding
from skerry.config.site import Paths
from skerry.engine.errors import EngineError, EngineNotFoundError
from skerry.engine.model import EngineInfo

ROUTE = "Iface Destination Gateway Flags RefCnt Use Metric Mask\neth0 00000000 0100000A 0003 0 0 0 00000000\n"  # noqa: E501 - the kernel's own line
ROOMY = Usage(50 << 30, 100 << 30, 5_000_000, 6_000_000)
INFO = EngineInfo(
    "27.0", "linux", "Debian", "6.12", "x86_64", 2, 8 << 30, storage_driver="overlay2"
)


@dataclass
class SomeUnits:
    """systemd: the units that it knows, and what it was told to do."""

    known: dict[str, Unit] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def states(self, names: tuple[str, ...]) -> Mapping[str, Unit]:
        return {name: self.known[name] for name in names if name in self.known}

    def run(self, *command: str) -> str:
        self.told.append(" ".join(command))
        return ""


@dataclass
class SomeNetwork:
    """The way out; `trouble` is raised in the place of every answer."""

    offset: float = 0.0
    trouble: Exception | None = None

    def resolve(self, host: str, seconds: float) -> list[str]:
        return ["10.0.0.1"]

    def tls(
        self, host: str, port: int, roots: tuple[str, ...], proxy: Proxy | None, seconds: float
    ) -> str:
        if self.trouble is not None:
            raise self.trouble
        return "TLSv1.3"

    def clock_offset(self, server: str, seconds: float) -> float:
        if self.trouble is not None:
            raise self.trouble
        return self.offset


@dataclass
class SomeEngine:
    """A container engine; `trouble` is raised in the place of every answer."""

    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    answer: tuple[int, str] = (0, "{}")
    ran: list[Mapping[str, object]] = field(default_factory=list)
    storage: str = INFO.storage_driver
    trouble: EngineError | None = None

    def info(self) -> EngineInfo:
        self._fail()
        return replace(INFO, storage_driver=self.storage)

    def containers(self, label: str) -> list[str]:
        self._fail()
        return list(self.found)

    def describe(self, name: str) -> dict[str, Any]:
        self._fail()
        return self.found[name]

    def describe_image(self, reference: str) -> dict[str, Any]:
        self._fail()
        if reference not in self.images:
            raise EngineNotFoundError(f"no image {reference}")
        return self.images[reference]

    def describe_network(self, name: str) -> dict[str, Any]:
        self._fail()
        return self.networks.get(name, {})

    def run_once(self, body: Mapping[str, object], seconds: int) -> tuple[int, str]:
        self._fail()
        self.ran.append(body)
        return self.answer

    def _fail(self) -> None:
        if self.trouble is not None:
            raise self.trouble


@dataclass
class Machine:
    """What `appliance` is made of; change it, then `find`."""

    root: Path
    units: SomeUnits = field(default_factory=SomeUnits)
    network: SomeNetwork = field(default_factory=SomeNetwork)
    engine: SomeEngine = field(default_factory=SomeEngine)
    usage: Usage = ROOMY
    clock: SetClock = field(default_factory=SetClock)

    def __post_init__(self) -> None:
        for folder in ("etc/skerry", "var/lib/skerry/config", "var/lib/docker"):
            (self.root / folder).mkdir(parents=True)
        self.write("proc/net/route", ROUTE)
        self.write("etc/resolv.conf", "nameserver 10.0.0.53\n")
        self.write("sys/class/net/eth0/mtu", "1500\n")
        self.settings("edged", "")

    @property
    def paths(self) -> Paths:
        return Paths(self.root / "etc/skerry", self.root / "var/lib/skerry")

    @property
    def engine_config(self) -> Path:
        return self.root / "etc/docker/daemon.json"

    def write(self, path: str, text: str) -> None:
        """Write a file of the system."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def settings(self, service: str, text: str) -> None:
        """Write the settings of a service."""
        self.write(f"etc/skerry/{service}/config.toml", text)

    def daemon(self, **values: object) -> None:
        """Write the engine's settings."""
        self.write("etc/docker/daemon.json", json.dumps(values))

    def appliance(self) -> Appliance:
        return Appliance(
            self.clock,
            self.units,
            self.network,
            lambda uri: self.engine,
            lambda path: self.usage,
            "house",
            True,
            self.paths,
            run=self.root / "run/skerry",
            root=self.root,
            options=Options(engine_config=self.engine_config),
        )

    def find(self, check_id: str) -> Finding:
        """Run one check."""
        (check,) = (one for one in all_checks() if one.id == check_id)
        return check.run(self.appliance())


def unit(name: str, active: str = "active", **environment: str) -> Unit:
    """Return a unit as systemd tells of it."""
    return Unit(name, "loaded", active, "running", 0, 0, environment)


class AwayError(SkerryError):
    """What cannot be reached."""
