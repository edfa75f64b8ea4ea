"""What is signed: the sha256 of every file of a folder, in the form that `sha256sum -c` reads.

    SHA256SUMS        one line a file: 64 hexadecimal digits, two spaces, the path with '/'
    SHA256SUMS.sig    the signature of these bytes: Ed25519, or ECDSA with SHA-256 in DER

A folder's own lock, half-made files and the devices that were stamped in it are not the image's; a
link is never followed and counts as a file
too many.
"""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from skerry_factory.errors import FactoryError
from skerry_factory.filesystems import digest_of_sparse
from skerry_factory.output import BUILDING, DEVICES

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
LOCK = ".lock"
LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[^\n\\]+)")


@dataclass(frozen=True)
class Folder:
    """The files of a folder by their paths, and what is there but is no plain file."""

    files: Mapping[str, Path]
    others: tuple[str, ...]


def read_folder(folder: Path) -> Folder:
    """Return what a signature has to cover. Raises: FactoryError when there is no such folder."""
    if not folder.is_dir():
        raise FactoryError(f"{folder} is not a folder; expected the folder of an image")
    files, others = {}, []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name in (SUMS, SIGNATURE, LOCK) or name.startswith((BUILDING, f"{DEVICES}/")):
            continue
        if path.is_file() and not path.is_symlink():
            files[name] = path
        elif path.is_symlink() or not path.is_dir():
            others.append(name)
    return Folder(files, tuple(others))


def digests_of(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the sha256 of each file; they are read side by side."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(files, pool.map(digest_of_sparse, files.values()), strict=True))


def format_sums(digests: Mapping[str, str]) -> bytes:
    """Return the content of SHA256SUMS. Raises: FactoryError for a name that it cannot hold."""
    for name in digests:
        if "\n" in name or "\\" in name:
            raise FactoryError(f"{name!r} cannot be signed: rename it without line end and '\\'")
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()


def parse_sums(data: bytes) -> dict[str, str]:
    """Return digests by path. Raises: FactoryError when a line is none."""
    digests = {}
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        found = LINE.fullmatch(line)
        if found is None or found["name"] in digests:
            raise FactoryError(f"{SUMS}:{number}: {line!r} is no line of a list of sums")
        digests[found["name"]] = found["digest"]
    return digests
