"""[secrets]: values for modules, handed to edged to be sealed, and for other keys of config.toml.

A value goes into a file of its own (`skerry.base.secret_file`) whose name holds a keyed tag of it:
another value never replaces one that a former generation still needs. Once edged has sealed it,
nothing on this device holds it in the clear; the installed config.toml refers to it, `vault.json`
says which tag is in force. Only a value that another key of config.toml names by
`{ secret = "name" }` stays with the generation, as any secret of that key would.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from skerry.base.secret_file import MAX_BYTES, SecretFile
from skerry.config.plan import PlannedFile
from skerry.config.problems import Finding, KeyPath, key_text
from skerry.config.references import is_named, is_reference, not_held
from skerry.config.site import Site
from skerry.config.words import nearest

SEED_SECRETS = "/run/seed/secrets/"
DEFAULT_SEALER = "keyd"
FILE = "vault.json"
TAG_CHARACTERS = 32
NOTHING_KEPT: Mapping[str, "Kept"] = {}

Tagger = Callable[[str, str, bytes], str]
"""(name, sealer, value) → the tag of the value, which tells nothing about it."""


def no_tag(_name: str, _sealer: str, _value: bytes) -> str:
    """Tag for a machine that is not this one: only that has the key."""
    return "0" * TAG_CHARACTERS


class FileSource(Protocol):
    """Reads the files that a configuration names."""

    def read(self, path: str) -> bytes:
        """Return the content; OSError where there is none to read."""
        ...


@dataclass(frozen=True)
class Kept:
    """A secret of the generation in force: the tag of its value, and who seals it."""

    tag: str
    sealer: str


@dataclass(frozen=True)
class Entry:
    """A secret of config.toml; no tag: its value is given on the device, by `skerry secret set`."""

    name: str
    sealer: str
    tag: str | None = None
    value: bytes | None = field(default=None, repr=False)


@dataclass
class Vault:
    """What [secrets] means.

    `used` are the texts that other keys name, by secret; `from_seed` where a file of the seed is
    named, which is gone once the seed is applied.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)
    from_seed: list[KeyPath] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def table(self) -> dict[str, object]:
        """Return [secrets] without any value."""
        return {
            name: {"tag": entry.tag, "sealed_by": entry.sealer}
            for name, entry in self.entries.items()
        }


def gather(
    tables: Mapping[str, Any],
    kept: Mapping[str, Kept],
    tagger: Tagger,
    source: FileSource,
    *,
    present: bool,
) -> Vault:
    """Read [secrets]; `present` asks that every file it names is there."""
    vault = Vault()
    for name, table in tables.get("secrets", {}).items():
        path: KeyPath = ("secrets", name)
        sealer = table.get("sealed_by", DEFAULT_SEALER)
        if is_reference(table.get("value")):
            vault.entries[name] = _kept(path, sealer, kept, vault)
            continue
        value = _value(path, table, source, present, vault)
        tag = None if value is None else tagger(name, sealer, value)
        vault.entries[name] = Entry(name, sealer, tag, value)
    return vault


def with_values(tables: dict[str, Any], vault: Vault) -> dict[str, Any]:
    """Put values in the place of the names of secrets, which `vault.used` then has."""
    found: dict[str, Any] = _with_values(tables, (), vault)
    return found


def files(vault: Vault, site: Site, is_there: Callable[[str], bool]) -> "VaultFiles":
    """Plan what edged gets; a value that it has already is not written in the clear again."""
    placed: dict[str, PlannedFile] = {}
    needed: list[str] = []
    for entry in vault.entries.values():
        if entry.tag is None:
            continue
        path = f"{site.state}/edged/imported/{entry.name}-{entry.tag}"
        if entry.value is None or is_there(path):
            needed.append(path)
        else:
            data = SecretFile("clear", entry.sealer, entry.value).dump()
            placed[path] = PlannedFile(data, site.ids.edged, site.ids.edged)
    if not vault.entries:
        return VaultFiles({}, placed, tuple(needed))
    text = json.dumps({"secrets": vault.table()}, indent=1) + "\n"
    index = PlannedFile(text.encode(), None, site.ids.edged, 0o640)
    return VaultFiles({FILE: index}, placed, tuple(needed))


@dataclass(frozen=True)
class VaultFiles:
    """Files of the generation, files to place, and paths that hold their secrets already."""

    files: Mapping[str, PlannedFile]
    placed: Mapping[str, PlannedFile]
    needed: tuple[str, ...]


def read_index(data: bytes) -> dict[str, Kept]:
    """Return what a generation's vault.json says."""
    table = json.loads(data)["secrets"]
    return {
        name: Kept(entry["tag"], entry["sealed_by"])
        for name, entry in table.items()
        if entry["tag"] is not None
    }


def _kept(path: KeyPath, sealer: str, kept: Mapping[str, Kept], vault: Vault) -> Entry:
    name = str(path[-1])
    known = kept.get(name)
    if known is None:
        vault.findings.append(not_held((*path, "value")))
        return Entry(name, sealer)
    if known.sealer != sealer:
        vault.findings.append(
            Finding((*path, "sealed_by"), f"the value is sealed by {known.sealer!r} and cannot be "
                    f"read back to have {sealer!r} seal it", "the secret itself as value")
        )  # fmt: skip
    return Entry(name, sealer, known.tag)


def _value(
    path: KeyPath, table: Mapping[str, str], source: FileSource, present: bool, vault: Vault
) -> bytes | None:
    if "value" in table:
        place, value = (*path, "value"), table["value"].encode()
    elif "file" in table:
        place, name = (*path, "file"), table["file"]
        if name.startswith(SEED_SECRETS):
            vault.from_seed.append(place)
        elif not present:
            return None
        try:
            value = source.read(name)
        except OSError as error:
            message = f"file {name!r} cannot be read: {(error.strerror or str(error)).lower()}"
            vault.findings.append(Finding(place, message, "a file on this device"))
            return None
    else:
        return None
    if not value:
        vault.findings.append(Finding(place, "the secret is empty", "a value"))
    if len(value) > MAX_BYTES:
        message = f"the secret has {len(value)} bytes"
        vault.findings.append(Finding(place, message, f"at most {MAX_BYTES}"))
    return value


def _with_values(value: Any, path: KeyPath, vault: Vault) -> Any:
    if is_named(value):
        return _text(value["secret"], path, vault)
    if isinstance(value, dict):
        return {k: _with_values(v, (*path, k), vault) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_values(v, (*path, n), vault) for n, v in enumerate(value)]
    return value


def _text(name: str, path: KeyPath, vault: Vault) -> str:
    """Return a secret as text, without the line's end that an editor leaves in a file."""
    entry = vault.entries.get(name)
    if entry is None:
        message, expected = f"{name!r} is not in [secrets]", "the name of a secret"
        vault.findings.append(Finding(path, message, expected, nearest(name, vault.entries)))
        return ""
    if entry.value is None:
        place = key_text(("secrets", name))
        message = f"the value of {place} cannot be read back for another key"
        if entry.tag is None:
            message = f"{place} has no value here"
        vault.findings.append(Finding(path, message, f"a value or file in {place}"))
        return ""
    try:
        vault.used[name] = entry.value.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        vault.findings.append(Finding(path, f"secret {name!r} is no text", "a secret in UTF-8"))
        return ""
    return vault.used[name]
