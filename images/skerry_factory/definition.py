"""The image definition: images/linux/<id>/image.toml, read strictly and typed completely.

Every problem of the file is reported at once, each at its line and column. What is loaded here is
complete: later code has no defaults of its own. What `extends` means is in layers.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.config.problems import Finding
from skerry.config.validate import validate
from skerry.config.words import nearest
from skerry_factory.errors import DefinitionError, FactoryError
from skerry_factory.image_schema import filled, load_schema
from skerry_factory.layers import CONSEQUENCE, Layers, read_layers
from skerry_factory.paths import Checkout
from skerry_factory.system_files import SystemFiles, find_mistakes, read_system_files

UNITS = {"MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
ESP_BYTES = 128 << 20
SEED_BYTES = 64 << 20
DATA_MIN_BYTES = 64 << 20
GPT_BYTES = 2 << 20


@dataclass(frozen=True)
class User:
    """A person's account in the image."""

    name: str
    groups: tuple[str, ...]
    ssh_authorized_keys: tuple[str, ...]


@dataclass(frozen=True)
class Definition:
    """One image definition; `folders` hold an image.toml and perhaps an overlay, its own last."""

    folders: tuple[Path, ...]
    id: str
    suite: str
    arch: str
    formats: tuple[str, ...]
    mirror: str | None
    disk_bytes: int
    root_bytes: int
    grow_data: bool
    hostname: str
    timezone: str
    kernel_arguments: tuple[str, ...]
    packages: tuple[str, ...]
    users: tuple[User, ...]
    dhcp: bool
    roles: tuple[str, ...]
    role_vars: Mapping[str, object]
    preload: tuple[str, ...]
    system_files: SystemFiles

    @property
    def overlays(self) -> tuple[Path, ...]:
        """Folders of plain files that are copied into the tree, one over the other."""
        return tuple(folder / "overlay" for folder in self.folders)

    @property
    def file(self) -> Path:
        """The image.toml of the definition itself."""
        return self.folders[-1] / "image.toml"


def find_definition(name: str, checkout: Checkout) -> Definition:
    """Load a definition by its id."""
    return load_definition(find_file(name, checkout))


def known_definitions(checkout: Checkout) -> list[str]:
    """Return the ids of all definitions."""
    return sorted(path.parent.name for path in checkout.definitions.glob("*/image.toml"))


def find_file(name: str, checkout: Checkout) -> Path:
    """Return the image.toml of an id; an unknown one is told with what was meant."""
    file = checkout.definitions / name / "image.toml"
    if not file.is_file():
        known = known_definitions(checkout)
        near = nearest(name, known)
        hint = f"did you mean {near!r}?" if near else f"expected one of {', '.join(known)}"
        raise FactoryError(f"no image definition {name!r} in {checkout.definitions}; {hint}")
    return file


def load_definition(file: Path) -> Definition:
    """Load one image.toml; raises DefinitionError with every problem of it."""
    layers, tables = load_tables(file)
    return _typed(layers, tables)


def load_tables(file: Path) -> tuple[Layers, Mapping[str, Any]]:
    """Return a definition's files and its checked tables with all defaults filled in."""
    layers = read_layers(file)
    schema = load_schema()
    findings = validate(layers.tables, schema).findings
    tables = {} if findings else filled(layers.tables, schema)
    if not findings:
        findings = _beyond_schema(tables, file)
    if findings:
        problems = [layers.problem(finding) for finding in findings]
        problems.sort(key=lambda problem: (problem.file, problem.line, problem.column))
        raise DefinitionError([str(problem) for problem in problems], CONSEQUENCE)
    return layers, tables


def size_bytes(text: str) -> int:
    """Return the bytes of a size such as `4GiB`."""
    match = re.fullmatch(r"(\d+)(MiB|GiB|TiB)", text)
    if match is None:
        raise FactoryError(f"size {text!r} is not a size; expected such as '4GiB' or '512MiB'")
    return int(match[1]) * UNITS[match[2]]


def _beyond_schema(tables: Mapping[str, Any], file: Path) -> list[Finding]:
    findings = []
    if tables["image"]["id"] != file.parent.name:
        expected = f"the name of its folder, {file.parent.name!r}"
        findings.append(Finding(("image", "id"), f"{tables['image']['id']!r}", expected))
    disk = tables["disk"]
    if disk["layout"] == "ab":
        findings.append(_not_built(("disk", "layout"), "'ab'", "'single'"))
    if disk["data"]["encrypt"] == "tpm":
        findings.append(_not_built(("disk", "data", "encrypt"), "'tpm'", "'none'"))
    least = ESP_BYTES + SEED_BYTES + DATA_MIN_BYTES + GPT_BYTES + size_bytes(disk["root"])
    if size_bytes(disk["size"]) < least:
        expected = f"at least {-(-least // UNITS['MiB'])}MiB for its partitions"
        findings.append(Finding(("disk", "size"), f"{disk['size']!r} is too small", expected))
    hostname = tables["system"]["hostname"]
    if hostname.startswith("-") or hostname.endswith("-"):
        expected = "a host name that starts and ends with a letter or digit"
        findings.append(Finding(("system", "hostname"), f"{hostname!r}", expected))
    return [*findings, *find_mistakes(tables["system"])]


def _not_built(path: tuple[str, ...], value: str, expected: str) -> Finding:
    return Finding(path, f"{value} is not supported by this version", expected)


def _typed(layers: Layers, tables: Mapping[str, Any]) -> Definition:
    image, disk, system = tables["image"], tables["disk"], tables["system"]
    users = [
        User(user["name"], tuple(user["groups"]), tuple(user["ssh_authorized_keys"]))
        for user in system["users"]
    ]
    return Definition(
        folders=tuple(layer.file.parent for layer in reversed(layers.files)),
        id=image["id"],
        suite=image["suite"],
        arch=image["arch"],
        formats=tuple(image["formats"]),
        mirror=image.get("mirror"),
        disk_bytes=size_bytes(disk["size"]),
        root_bytes=size_bytes(disk["root"]),
        grow_data=disk["data"]["grow"],
        hostname=system["hostname"],
        timezone=system["timezone"],
        kernel_arguments=tuple(system["kernel_arguments"]),
        packages=tuple(name.replace("{arch}", image["arch"]) for name in system["packages"]),
        users=tuple(users),
        dhcp=system["network"]["dhcp"],
        roles=tuple(tables["roles"]["run"]),
        role_vars=tables["roles"]["vars"],
        preload=tuple(tables["containers"]["preload"]),
        system_files=read_system_files(system),
    )
