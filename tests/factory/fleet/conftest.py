"""A site with an image, an authority and a fleet of three, to be stamped."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.authority import write_authority
from harness.small_image import make_small_image
from skerry_factory.fleet.definition import load_fleet
from skerry_factory.fleet.material import World
from skerry_factory.fleet.stamping import Stamped, stamp_fleet
from skerry_factory.progress import Progress

NOW = datetime(2026, 9, 2, 12, tzinfo=UTC)
COMMON = 'trust_bundle_cert = "file:///run/seed/secrets/root.pem"\n'
FLEET = """[fleet]
name = "plant"
image = "box"
config = "common.toml"
format = "{format}"
secrets = {{ "root.pem" = "root.pem" }}

[identity]
{identity}

[devices]
{devices}
"""
DPS = 'source = "dps"\nglobal_endpoint = "https://dps.example"\nid_scope = "0ne1"\n'
STANDALONE = 'source = "standalone"'
X509 = DPS + 'attestation = { method = "x509", ca_certificate = "ca.pem", ca_key = "ca.key" }'
KEYS = DPS + 'attestation = { method = "symmetric_key" }'
TPM = DPS + 'attestation = { method = "tpm" }'
THREE = 'pattern = "press-{n:02}"\ncount = 3'


@dataclass(frozen=True)
class Site:
    """A folder with fleet.toml and all that it names; its clock stands still."""

    folder: Path
    image: Path
    now: datetime = NOW
    free_bytes: int = 1 << 40
    target: Path | None = None

    @property
    def file(self) -> Path:
        return self.folder / "fleet.toml"

    @property
    def out(self) -> Path:
        return self.target or self.folder / "out"

    def into(self, target: Path) -> "Site":
        """Return the same site, stamped into another folder."""
        return replace(self, target=target)

    def write(self, identity: str, devices: str = THREE, disk_format: str = "seed") -> None:
        text = FLEET.format(format=disk_format, identity=identity, devices=devices)
        self.file.write_text(text)

    def stamp(self, random_bytes: Callable[[int], bytes] = lambda n: b"k" * n) -> Stamped:
        world = World(lambda: self.now, random_bytes, lambda _: self.free_bytes)
        with Progress.silent().step("stamp") as step:
            return stamp_fleet(load_fleet(self.file), self.image, self.out, world, step)


@pytest.fixture(scope="session")
def small_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_image(tmp_path_factory.mktemp("image"))


@pytest.fixture
def site(tmp_path: Path, small_image: Path) -> Site:
    (tmp_path / "common.toml").write_text(COMMON)
    write_authority(tmp_path)
    (tmp_path / "root.pem").write_bytes((tmp_path / "ca.pem").read_bytes())
    return Site(tmp_path, small_image)
