"""A preload folder as the factory writes it, with an archive that nobody loads."""

import hashlib
import json
from pathlib import Path

from harness.archives import write_archive


def make_preload(folder: Path) -> Path:
    """Write the folder and return it."""
    folder.mkdir()
    write_archive(folder / "agent.tar", [{"etc/hostname": ""}])
    archive = (folder / "agent.tar").read_bytes()
    image = {
        "ref": "localhost/skerry/agent:0",
        "id": f"sha256:{'0' * 64}",
        "file": "agent.tar",
        "sha256": hashlib.sha256(archive).hexdigest(),
        "size_bytes": len(archive),
    }
    (folder / "preload.json").write_text(json.dumps({"images": [image]}))
    return folder
