"""Where things are on a device and who runs what: docs/interfaces.md sections 1 to 3, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SERVICES = ("keyd", "certd", "identityd", "tpmd", "edged")


@dataclass(frozen=True)
class Ids:
    """User ids of the services; each group has the number of its user."""

    keyd: int = 13611
    certd: int = 13612
    tpmd: int = 13613
    identityd: int = 13614
    edged: int = 13615

    def of(self, service: str) -> int:
        """Return the user id of one service."""
        ids: dict[str, int] = vars(self)
        return ids[service]


@dataclass(frozen=True)
class Site:
    """What a plan needs to know beside config.toml.

    `files` holds the content of the files that the plan itself reads, by path.
    """

    hostname: str
    ids: Ids = Ids()
    state: str = "/var/lib/skerry"
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Paths:
    """The folders of a device; tests give others."""

    etc: Path = Path("/etc/skerry")
    state: Path = Path("/var/lib/skerry")

    @property
    def current(self) -> Path:
        return self.etc / "current"

    @property
    def generations(self) -> Path:
        return self.etc / "generations"

    @property
    def installed(self) -> Path:
        return self.etc / "config.toml"

    @property
    def private(self) -> Path:
        """Apply's own state: the digest key, the lock, digests of applied seeds."""
        return self.state / "config"
