"""What fleet.toml says, complete: later code has no defaults of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

Interface = IPv4Interface | IPv6Interface


class Method(StrEnum):
    """How a device proves who it is."""

    STANDALONE = "standalone"
    SYMMETRIC_KEY = "symmetric_key"
    X509 = "x509"
    TPM = "tpm"


@dataclass(frozen=True)
class IdentityPlan:
    """How the devices get an identity; `group` is the enrolment group, None for one enrolment each.

    `endpoint` and `id_scope` are empty for standalone devices.
    """

    method: Method
    endpoint: str = ""
    id_scope: str = ""
    group: str | None = None
    group_key: Path | None = None
    ca_certificate: Path | None = None
    ca_key: Path | None = None
    valid_days: int = 730
    endorsement_keys: Path | None = None


@dataclass(frozen=True)
class NetworkPlan:
    """What the devices' network files have in common."""

    interface: str = "en*"
    gateway: str | None = None
    dns: tuple[str, ...] = ()


@dataclass(frozen=True)
class FleetDevice:
    """One device; no address means DHCP. The endorsement key is the base64 of a TPM2B_PUBLIC."""

    id: str
    hostname: str
    registration_id: str
    address: Interface | None = None
    endorsement_key: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fleet:
    """A whole fleet.toml; every path is there, every id is unique."""

    file: Path
    name: str
    image: str
    config: Path
    disk_format: str
    size_bytes: int
    authorized_keys: tuple[Path, ...]
    secrets: Mapping[str, Path]
    identity: IdentityPlan
    network: NetworkPlan
    devices: tuple[FleetDevice, ...]
