"""What is in an image: Debian packages, Python packages, container images with theirs, and files
that belong to no package.

Everything is read from the image itself, so it is what is there and not what was planned. The
order is that of names; nothing depends on the machine or the time.
"""

import gzip
import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from urllib.parse import quote

from skerry_factory.contents.model import Contents, Kind
from skerry_factory.contents.owners import owners_of
from skerry_factory.evidence.licences import identifier, licences_of_copyright
from skerry_factory.packages import installed_paragraphs

PRELOAD = "usr/lib/skerry/images/"
DOCS = "usr/share/doc/"
STATUS = "var/lib/dpkg/status"
LONGEST_LICENCE = 60
"""What is longer in Python metadata is a text and no name."""


@dataclass(frozen=True)
class Package:
    """One package; `kind` is deb or pypi, `source` what Debian builds it from."""

    kind: str
    name: str
    version: str
    arch: str
    source: str
    source_version: str
    licences: tuple[str, ...]
    size_bytes: int

    @property
    def purl(self) -> str:
        """The package's URL as of the purl specification."""
        if self.kind == "pypi":
            return f"pkg:pypi/{quote(self.name.lower().replace('_', '-'))}@{quote(self.version)}"
        version = quote(self.version, safe="")
        return f"pkg:deb/debian/{quote(self.name)}@{version}?arch={self.arch}"


@dataclass(frozen=True)
class Container:
    """A container image that the appliance carries; `id` is `sha256:…`."""

    ref: str
    id: str
    packages: tuple[Package, ...]
    size_bytes: int


@dataclass(frozen=True)
class UnownedFile:
    """A file that no Debian package brought."""

    path: str
    size_bytes: int
    sha256: str
    sha1: str


@dataclass(frozen=True)
class Inventory:
    """All that is in an image."""

    packages: tuple[Package, ...]
    containers: tuple[Container, ...]
    unowned: tuple[UnownedFile, ...]

    def all_packages(self) -> Iterator[tuple[str, Package]]:
        """Yield each package with the container it is in; empty for the image itself."""
        yield from (("", package) for package in self.packages)
        for container in self.containers:
            yield from ((container.ref, package) for package in container.packages)


def take_inventory(contents: Contents) -> Inventory:
    """Return what an image holds."""
    owners = owners_of(contents)
    sizes: Counter[str] = Counter()
    unowned = []
    for path, entry in sorted(contents.entries.items()):
        if path in owners:
            sizes[owners[path]] += entry.size_bytes
        elif entry.kind is Kind.FILE:
            data = entry.read()
            sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
            sha256 = hashlib.sha256(data).hexdigest()
            unowned.append(UnownedFile(path, entry.size_bytes, sha256, sha1))
    texts = {path: contents.text(path) for path in contents.entries if _is_telling(path)}
    for path, entry in contents.entries.items():
        # the folder of a package may be a link to that of another one of the same source
        if path.startswith(DOCS) and entry.kind is Kind.LINK and "/" not in entry.target:
            texts[f"{path}/copyright"] = texts.get(f"{DOCS}{entry.target}/copyright", "")
    return Inventory(_packages(texts, sizes), _containers(contents), tuple(unowned))


def _is_telling(path: str) -> bool:
    """Tell whether a file says of packages what they are."""
    copyright_file = path.startswith(DOCS) and path.endswith("/copyright")
    return path == STATUS or copyright_file or path.endswith(".dist-info/METADATA")


def _packages(texts: Mapping[str, str], sizes: Mapping[str, int]) -> tuple[Package, ...]:
    debs = [_deb(fields, texts, sizes) for fields in installed_paragraphs(texts.get(STATUS, ""))]
    wheels = [_wheel(text) for path, text in sorted(texts.items()) if path.endswith("/METADATA")]
    return (*debs, *sorted(wheels, key=lambda package: (package.name.lower(), package.version)))


def _deb(fields: Mapping[str, str], texts: Mapping[str, str], sizes: Mapping[str, int]) -> Package:
    name, version = fields["Package"], fields["Version"]
    source, _, source_version = fields.get("Source", name).partition(" ")
    text = texts.get(f"{DOCS}{name}/copyright", "")
    return Package(
        kind="deb",
        name=name,
        version=version,
        arch=fields["Architecture"],
        source=source,
        source_version=source_version.strip("()") or version,
        licences=licences_of_copyright(text),
        size_bytes=sizes.get(name, 0),
    )


def _wheel(metadata: str) -> Package:
    fields = HeaderParser().parsestr(metadata)
    name, version = fields.get("Name", "unknown"), fields.get("Version", "unknown")
    licence = fields.get("License-Expression") or fields.get("License") or ""
    licence = licence.strip()
    named = licence and len(licence) <= LONGEST_LICENCE and "\n" not in licence
    found = (identifier(licence),) if named and licence != "UNKNOWN" else ()
    return Package("pypi", name, version, "all", name, version, found, 0)


def _containers(contents: Contents) -> tuple[Container, ...]:
    text = contents.text(f"{PRELOAD}preload.json")
    images: Sequence[Mapping[str, str]] = json.loads(text)["images"] if text else []
    layers: dict[str, dict[str, str]] = {}
    found = []
    for image in images:
        archive = contents.entries[f"{PRELOAD}{image['file']}"].read()
        packages = _packages(_texts_of_archive(archive, layers), {})
        found.append(Container(image["ref"], image["id"], packages, len(archive)))
    return tuple(sorted(found, key=lambda container: container.ref))


def _texts_of_archive(archive: bytes, known: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return what the layers of an image say of packages, upper ones over lower ones."""
    texts: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as reader:
        for name in json.loads(_member(reader, "manifest.json"))[0]["Layers"]:
            if name not in known:
                known[name] = _texts_of_layer(_member(reader, name))
            texts |= known[name]
    return texts


def _texts_of_layer(layer: bytes) -> dict[str, str]:
    data = gzip.decompress(layer) if layer.startswith(b"\x1f\x8b") else layer
    with tarfile.open(fileobj=io.BytesIO(data)) as reader:
        names = [member.name for member in reader if member.isfile() and _is_telling(member.name)]
        return {name: _member(reader, name).decode("utf-8", "replace") for name in names}


def _member(reader: tarfile.TarFile, name: str) -> bytes:
    stream = reader.extractfile(name)
    return stream.read() if stream else b""
