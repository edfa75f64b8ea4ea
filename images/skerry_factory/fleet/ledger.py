"""The ledger of a fleet: which copy was made for whom, when, from what. It holds no secrets.

    <fleet>/ledger.jsonl      one line for each copy; the last one of a device counts:
                              {"time", "device", "hostname", "registration_id", "address", "labels",
                               "made": {"file", "image", "size_bytes", "seed"},
                               "certificate", "not_after"}

`image` is the sha256 of the image, empty for a seed alone, `seed` that of the seed's manifest,
`certificate` that of the device's certificate (DER). A line is there after its copy is.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes

from skerry_factory.fleet.lines import append_lines, not_ours, read_lines
from skerry_factory.fleet.material import Material
from skerry_factory.fleet.model import FleetDevice

FILE = "ledger.jsonl"


@dataclass(frozen=True)
class Made:
    """A copy, and what it was made of."""

    file: str
    image: str
    size_bytes: int
    seed: str


@dataclass(frozen=True)
class Entry:
    """One line."""

    time: str
    device: str
    hostname: str
    registration_id: str
    address: str | None
    labels: dict[str, str]
    made: Made
    certificate: str | None
    not_after: str | None


def entry(device: FleetDevice, material: Material, made: Made, time: str) -> Entry:
    """Return the line for a copy; `time` is RFC 3339."""
    certificate = material.certificate
    return Entry(
        time=time,
        device=device.id,
        hostname=device.hostname,
        registration_id=device.registration_id,
        address=None if device.address is None else str(device.address),
        labels=dict(sorted(device.labels.items())),
        made=made,
        certificate=None if certificate is None else certificate.fingerprint(hashes.SHA256()).hex(),
        not_after=None if certificate is None else certificate.not_valid_after_utc.isoformat(),
    )


def read_ledger(folder: Path) -> dict[str, Entry]:
    """Return the last line of each device. Raises: FactoryError for a damaged file."""
    try:
        return {
            line["device"]: Entry(**{**line, "made": Made(**line["made"])})
            for line in read_lines(folder / FILE)
        }
    except (KeyError, TypeError) as error:
        raise not_ours(folder / FILE) from error


def write_ledger(folder: Path, entries: Iterable[Entry]) -> None:
    """Add lines; they last when this returns."""
    append_lines(folder / FILE, map(asdict, entries), mode=0o644)
