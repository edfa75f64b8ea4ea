"""What the playbook tests work with: the runtime's package and a folder of container images."""

import hashlib
import json
from pathlib import Path

import pytest

from skerry_factory.deb import build_deb

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl test"


@pytest.fixture(scope="session")
def runtime_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_deb("trixie", tmp_path_factory.mktemp("deb"))


@pytest.fixture
def preload_folder(tmp_path: Path) -> Path:
    """A folder as the factory writes it, with an archive that nobody loads."""
    return make_preload(tmp_path / "preload")


def make_preload(folder: Path) -> Path:
    folder.mkdir()
    archive = b"an archive"
    (folder / "agent.tar").write_bytes(archive)
    image = {
        "ref": "localhost/skerry/agent:0",
        "id": f"sha256:{'0' * 64}",
        "file": "agent.tar",
        "sha256": hashlib.sha256(archive).hexdigest(),
        "size_bytes": len(archive),
    }
    (folder / "preload.json").write_text(json.dumps({"images": [image]}))
    return folder
