"""An image in memory, with packages of every kind."""

import io
import json
import tarfile
from collections.abc import Mapping

import pytest

from skerry_factory.contents.model import Contents, Entry, Kind
from skerry_factory.evidence.subject import Subject

DASH = """Package: dash
Status: install ok installed
Version: 0.5.12-12
Architecture: amd64

Package: libc6
Status: install ok installed
Source: glibc (2.41-1)
Version: 2.41-1+b1
Architecture: amd64

Package: libc6-doc
Status: install ok installed
Source: glibc
Version: 2.41-1
Architecture: all

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: amd64
"""
DEP5 = "Format: x\n\nFiles: *\nLicense: BSD-3-clause and GPL-2+\n\nFiles: a\nLicense: odd one\n"
METADATA = "Metadata-Version: 2.1\nName: Some_Wheel\nVersion: 1.2\nLicense: MIT\n\ntext\n"


def archive(files: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as writer:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            writer.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def image_archive(*layers: bytes) -> bytes:
    names = [f"blobs/sha256/{number}" for number in range(len(layers))]
    manifest = json.dumps([{"Layers": names}])
    return archive({"manifest.json": manifest, **dict(zip(names, layers, strict=True))})


def texts() -> dict[str, str | bytes]:
    """The files of an image by path."""
    lower = archive({"var/lib/dpkg/status": DASH, "usr/bin/dash": "x"})
    wheel = "usr/lib/python3/dist-packages/Some_Wheel-1.2.dist-info/METADATA"
    preload = [{"ref": "localhost/skerry/hub:1", "id": "sha256:" + "a" * 64, "file": "hub.tar"}]
    return {
        "var/lib/dpkg/status": DASH,
        "var/lib/dpkg/info/dash.list": "/.\n/bin/dash\n/usr/share/doc/dash/copyright\n",
        "usr/bin/dash": "x" * 1000,
        "usr/share/doc/dash/copyright": DEP5,
        "usr/share/doc/libc6/copyright": "see /usr/share/common-licenses/LGPL-2.1.\n",
        wheel: METADATA,
        "usr/lib/skerry/images/preload.json": json.dumps({"images": preload}),
        "usr/lib/skerry/images/hub.tar": image_archive(lower, archive({wheel: METADATA})),
        "etc/own": "own",
    }


@pytest.fixture
def contents() -> Contents:
    entries = {}
    for path, content in texts().items():
        data = content.encode() if isinstance(content, str) else content
        read = io.BytesIO(data).getvalue
        entries[path] = Entry(Kind.FILE, 0o644, 0, 0, len(data), read=read)
    entries["usr/share/doc/libc6-doc"] = Entry(Kind.LINK, 0o777, 0, 0, target="libc6")
    return Contents(entries)


@pytest.fixture
def subject() -> Subject:
    return Subject("x", "0.1.0", "trixie", "amd64", {"x.raw": "b" * 64})
