"""What a container image is made of: images/containers/<name>/image.toml, read strictly.

`base` describes the layer that all images share; every other definition one image on top of it.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.config.problems import Finding, key_text
from skerry.config.validate import validate
from skerry.config.words import nearest
from skerry_factory.container_layer import Entry, Folder, plain_entries
from skerry_factory.errors import DefinitionError, FactoryError
from skerry_factory.paths import Checkout, package_data

BASE = "base"
CONSEQUENCE = "no container image was built"


@dataclass(frozen=True)
class BaseDefinition:
    """The shared layer: Debian packages less what `without` matches and `keep` does not.

    `bytecode` names the modules that are compiled, with all that they import.
    """

    packages: tuple[str, ...]
    bytecode: tuple[str, ...]
    without: tuple[str, ...]
    keep: tuple[str, ...]
    entries: Mapping[str, Entry]
    env: Mapping[str, str]


@dataclass(frozen=True)
class ContainerDefinition:
    """One image on top of the base; `env` is its own, laid over that of the base.

    `ports` (TCP) are those that a deployment may publish: the engine binds no others.
    """

    name: str
    title: str
    user: int
    entrypoint: tuple[str, ...]
    entries: Mapping[str, Entry]
    env: Mapping[str, str]
    ports: tuple[int, ...]


def container_names(checkout: Checkout) -> list[str]:
    """Return the names of all images but the base."""
    files = _folder(checkout).glob("*/image.toml")
    return sorted(file.parent.name for file in files if file.parent.name != BASE)


def load_base(checkout: Checkout) -> BaseDefinition:
    """Load the definition of the shared layer."""
    tables = _load(BASE, checkout)
    return BaseDefinition(
        packages=tuple(sorted(tables["base"]["packages"])),
        bytecode=tuple(sorted(tables["base"]["bytecode"])),
        without=tuple(tables["base"]["without"]),
        keep=tuple(tables["base"]["keep"]),
        entries=_entries(tables, checkout),
        env=tables.get("env", {}),
    )


def load_container(name: str, checkout: Checkout) -> ContainerDefinition:
    """Load the definition of one image by its name."""
    tables = _load(name, checkout)
    image = tables["image"]
    return ContainerDefinition(
        name=name,
        title=image["title"],
        user=image["user"],
        entrypoint=tuple(image["entrypoint"]),
        entries=_entries(tables, checkout),
        env=tables.get("env", {}),
        ports=tuple(image.get("ports", ())),
    )


def _load(name: str, checkout: Checkout) -> dict[str, Any]:
    file = _folder(checkout) / name / "image.toml"
    if not file.is_file():
        known = [BASE, *container_names(checkout)]
        near = nearest(name, known)
        hint = f"did you mean {near!r}?" if near else f"expected one of {', '.join(known)}"
        raise FactoryError(f"no container image {name!r} in {_folder(checkout)}; {hint}")
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DefinitionError([f"{file}: no TOML: {error}"], CONSEQUENCE) from error
    schema = json.loads(package_data("container.schema.json").read_text("utf-8"))
    findings = validate(tables, schema).findings or _beyond_schema(tables, name, checkout)
    if findings:
        raise DefinitionError([_line(file, finding) for finding in findings], CONSEQUENCE)
    return tables


def _beyond_schema(tables: Mapping[str, Any], name: str, checkout: Checkout) -> list[Finding]:
    findings = []
    wanted, other = ("base", "image") if name == BASE else ("image", "base")
    if wanted not in tables:
        findings.append(Finding((wanted,), "missing", f"a table [{wanted}]"))
    if other in tables:
        findings.append(Finding((other,), f"does not belong to {name!r}", f"[{wanted}] only"))
    for table in ("files", "folders"):
        findings += [
            Finding((table, target), "is not absolute", "a path in the image, from '/'")
            for target in tables.get(table, {})
            if not target.startswith("/")
        ]
    for target, source in tables["files"].items():
        if not (checkout.root / source).exists():
            expected = "a file or folder of the checkout"
            findings.append(Finding(("files", target), f"{source!r} does not exist", expected))
    return findings


def _entries(tables: Mapping[str, Any], checkout: Checkout) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for target, source in tables["files"].items():
        entries |= plain_entries(checkout.root / source, target.lstrip("/"))
    for target, folder in tables.get("folders", {}).items():
        user = folder["user"]
        entries[target.lstrip("/")] = Folder(int(folder["mode"], 8), user, user)
    return entries


def _line(file: Path, finding: Finding) -> str:
    told = f"{file}: {key_text(finding.path)}: {finding.message}"
    return f"{told}; expected {finding.expected}" if finding.expected else told


def _folder(checkout: Checkout) -> Path:
    return checkout.root / "images" / "containers"
