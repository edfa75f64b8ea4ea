"""The image definition: images/linux/<id>/image.toml, read strictly and typed completely.

Every problem of the file is reported at once, each at its line and column. What is loaded here is
complete: later code has no defaults of its own.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.config.locate import Locations, locate
from skerry.config.problems import Finding, Problem, key_text
from skerry.config.validate import validate
from skerry.config.words import nearest
from skerry_factory.errors import DefinitionError, FactoryError
from skerry_factory.paths import Checkout, package_data

UNITS = {"MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
ESP_BYTES = 128 << 20
SEED_BYTES = 64 << 20
DATA_MIN_BYTES = 64 << 20
GPT_BYTES = 2 << 20
CONSEQUENCE = "nothing was built"


@dataclass(frozen=True)
class User:
    """A person's account in the image."""

    name: str
    groups: tuple[str, ...]
    ssh_authorized_keys: tuple[str, ...]


@dataclass(frozen=True)
class Definition:
    """One image definition; `folder` holds its image.toml and overlay."""

    folder: Path
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

    @property
    def overlay(self) -> Path:
        """Folder of plain files that are copied into the tree."""
        return self.folder / "overlay"


def find_definition(name: str, checkout: Checkout) -> Definition:
    """Load a definition by its id."""
    file = checkout.definitions / name / "image.toml"
    if not file.is_file():
        known = sorted(path.parent.name for path in checkout.definitions.glob("*/image.toml"))
        near = nearest(name, known)
        hint = f"did you mean {near!r}?" if near else f"expected one of {', '.join(known)}"
        raise FactoryError(f"no image definition {name!r} in {checkout.definitions}; {hint}")
    return load_definition(file)


def load_definition(file: Path) -> Definition:
    """Load one image.toml; raises DefinitionError with every problem of it."""
    data = file.read_bytes()
    try:
        text = data.decode("utf-8")
        tables = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = str(error)
        raise DefinitionError([f"{file}: no TOML: {message}"], CONSEQUENCE) from error
    schema = json.loads(package_data("image.schema.json").read_text("utf-8"))
    findings = validate(tables, schema).findings
    if not findings:
        findings = _beyond_schema(tables, file)
    if findings:
        places = locate(text)
        problems = [_located(finding, str(file), places) for finding in findings]
        problems.sort(key=lambda problem: (problem.line, problem.column))
        raise DefinitionError([str(problem) for problem in problems], CONSEQUENCE)
    return _typed(tables, file.parent)


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
    if disk.get("layout") == "ab":
        findings.append(_not_built(("disk", "layout"), "'ab'", "'single'"))
    if disk.get("data", {}).get("encrypt") == "tpm":
        findings.append(_not_built(("disk", "data", "encrypt"), "'tpm'", "'none'"))
    least = ESP_BYTES + SEED_BYTES + DATA_MIN_BYTES + GPT_BYTES + _root_bytes(disk)
    if size_bytes(disk["size"]) < least:
        expected = f"at least {-(-least // UNITS['MiB'])}MiB for its partitions"
        findings.append(Finding(("disk", "size"), f"{disk['size']!r} is too small", expected))
    hostname = tables["system"].get("hostname", "")
    if hostname.startswith("-") or hostname.endswith("-"):
        expected = "a host name that starts and ends with a letter or digit"
        findings.append(Finding(("system", "hostname"), f"{hostname!r}", expected))
    return findings


def _not_built(path: tuple[str, ...], value: str, expected: str) -> Finding:
    return Finding(path, f"{value} is not supported by this version", expected)


def _root_bytes(disk: Mapping[str, Any]) -> int:
    return size_bytes(disk.get("root", "2GiB"))


def _located(finding: Finding, file: str, places: Locations) -> Problem:
    at = places.key(finding.path) if finding.on_key else places.value(finding.path)
    return Problem(
        file,
        at.line,
        at.column,
        key_text(finding.path),
        finding.message,
        finding.expected,
        finding.suggestion,
    )


def _typed(tables: Mapping[str, Any], folder: Path) -> Definition:
    image, disk, system = tables["image"], tables["disk"], tables["system"]
    users = [
        User(
            user["name"],
            tuple(user.get("groups", ())),
            tuple(user.get("ssh_authorized_keys", ())),
        )
        for user in system.get("users", ())
    ]
    return Definition(
        folder=folder,
        id=image["id"],
        suite=image["suite"],
        arch=image["arch"],
        formats=tuple(image.get("formats", ("raw", "qcow2"))),
        mirror=image.get("mirror"),
        disk_bytes=size_bytes(disk["size"]),
        root_bytes=_root_bytes(disk),
        grow_data=disk.get("data", {}).get("grow", True),
        hostname=system.get("hostname", "{serial}"),
        timezone=system.get("timezone", "UTC"),
        kernel_arguments=tuple(system.get("kernel_arguments", ())),
        packages=tuple(system.get("packages", ())),
        users=tuple(users),
        dhcp=system.get("network", {}).get("dhcp", True),
        roles=tuple(tables["roles"]["run"]),
        role_vars=tables["roles"].get("vars", {}),
        preload=tuple(tables.get("containers", {}).get("preload", ())),
    )
