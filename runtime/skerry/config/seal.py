"""Takes what must not stay in config.toml out of it: secrets in the clear, files of the seed.

The installed text is the one that came in, comments and all; only the values concerned are
replaced, each at its place. A secret becomes a reference, a file of the seed the file on the
device that holds its content, named by that content: the same input gives the same names again.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from skerry.config import emit, rules
from skerry.config.document import Document
from skerry.config.group_key import DEVICE_KEY, GROUP_KEY, derived_key, with_device_key
from skerry.config.locate import Span
from skerry.config.pairs import check_pairs
from skerry.config.plan import PlannedFile, imported_path
from skerry.config.problems import Finding, KeyPath, Problem, key_text
from skerry.config.references import PREFIX, reference, strings, value_at
from skerry.config.site import Ids, Site
from skerry.config.vault import (
    NOTHING_KEPT,
    SEED_SECRETS,
    FileSource,
    Kept,
    Tagger,
    Vault,
    gather,
    no_tag,
    with_values,
)

_FILE = "file://"
_READ_BY_APPLY = ("additional_info", "imported_master_encryption_key")
_NOT_FILES = ("agent", "modules", "hub", "secrets", "aziot_keys")


@dataclass(frozen=True)
class Sealed:
    """A configuration as it will be installed.

    `tables` hold the secrets in the clear and the new names of imported files; `text` neither the
    secrets nor the old names. `secrets` stay with the generation, those of `vault` with edged.
    `files` is what the plan reads, by path.
    """

    text: str
    tables: dict[str, Any]
    secrets: Mapping[str, str]
    vault: Vault
    placed: Mapping[str, PlannedFile]
    files: Mapping[str, bytes]
    problems: tuple[Problem, ...] = ()


@dataclass
class _Work:
    replaced: dict[KeyPath, object] = field(default_factory=dict)
    texts: dict[Span, str] = field(default_factory=dict)
    placed: dict[str, PlannedFile] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def seal(
    document: Document,
    site: Site,
    source: FileSource,
    *,
    kept: Mapping[str, Kept] = NOTHING_KEPT,
    tagger: Tagger = no_tag,
    present: bool = True,
) -> Sealed:
    """Seal a document without problems; `present` asks that every file it names is there.

    `kept` are the secrets of the generation in force that only edged has.
    """
    work = _Work()
    vault = gather(document.tables, kept, tagger, source, present=present)
    tables = with_values(document.tables, vault)
    if vault.used and not vault.findings:
        # with their values in place these keys have to fit the rules as any others
        vault.findings += rules.check(tables)
    work.findings += vault.findings
    secrets = _secrets(document, work, vault)
    references = dict(work.replaced)
    for path, name, is_uri in _named_files(tables):
        _file(path, name, is_uri, site, source, present, work)
    if present:
        work.findings += check_pairs(tables, source.read)
    imports = {path: new for path, new in work.replaced.items() if path not in references}
    tables = {**tables, "secrets": vault.table()} if vault.entries else tables
    if work.findings:
        return Sealed("", {}, {}, vault, {}, {}, _located(document, work))
    key = derived_key(tables)
    if key is not None:
        tables = with_device_key(tables, key)
        secrets[key_text(DEVICE_KEY)] = key
    return Sealed(
        text=_replaced_text(document, work),
        tables=_replaced_tables(tables, imports),
        secrets=secrets,
        vault=vault,
        placed=work.placed,
        files=work.files,
    )


def _located(document: Document, work: _Work) -> tuple[Problem, ...]:
    return tuple(document.locate(finding) for finding in work.findings)


def _secrets(document: Document, work: _Work, vault: Vault) -> dict[str, str]:
    """Collect the secrets by name; those in the clear are to be replaced in the text."""
    written = tomllib.loads(document.text)
    secrets = {key_text(("secrets", name, "value")): text for name, text in vault.used.items()}
    for path in vault.from_seed:
        place, sealed = (*path[:-1], "value"), reference((*path[:-1], "value"))
        pair = Span(document.locations.keys[path], document.locations.values[path].end)
        work.texts[pair] = f"{place[-1]} = {emit.dump_value({'secret': sealed})}"
    for path in document.secrets:
        if path == GROUP_KEY:
            places = document.locations
            pair = Span(places.keys[path], places.values[path].end)
            sealed = emit.dump_value({DEVICE_KEY[-1]: {"secret": reference(DEVICE_KEY)}})
            work.texts[pair] = f"{DEVICE_KEY[-2]} = {sealed}"
            continue
        original = value_at(written, path)
        if isinstance(original, str):
            work.replaced[path] = {"secret": reference(path)}
        if path[0] == "secrets":
            continue
        if isinstance(original, str):
            secrets[key_text(path)] = original
        else:
            name = original["secret"].removeprefix(PREFIX)
            secrets[name] = value_at(document.tables, path)
    return secrets


def _named_files(tables: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str, bool]]:
    """Yield every file that the tables name: key path, file path, whether written as a URI."""
    for path, text in strings(tables):
        if path == ("imported_master_encryption_key",):
            yield path, text, False
        elif text.startswith(_FILE) and path[0] not in _NOT_FILES:
            yield path, unquote(text.removeprefix(_FILE)), True


def _file(
    path: KeyPath,
    name: str,
    is_uri: bool,
    site: Site,
    source: FileSource,
    present: bool,
    work: _Work,
) -> None:
    service = _reader(path)
    kept = name.startswith(f"{site.state}/{service}/imported/")
    imported = kept or name.startswith(SEED_SECRETS)
    if not (imported or present or path[0] in _READ_BY_APPLY):
        return
    try:
        data = source.read(name)
    except OSError as error:
        message = f"file {name!r} cannot be read: {(error.strerror or str(error)).lower()}"
        work.findings.append(Finding(path, message, "a file on this device"))
        return
    if imported:
        new = name if kept else imported_path(site, service, name.rpartition("/")[2], data)
        work.placed[new] = _owned(data, service, site.ids)
        if not kept:
            work.replaced[path] = _FILE + quote(new) if is_uri else new
        name = new
    if path[0] in _READ_BY_APPLY:
        work.files[name] = data
        work.findings += _flat_strings(path, name, data)


def _reader(path: KeyPath) -> str:
    """Return which service reads the file at a key path; "config" is apply itself."""
    if path[0] in _READ_BY_APPLY:
        return "config"
    if "payload" in path:
        return "identityd"
    last = str(path[-1])
    return (
        "keyd" if last.endswith("pk") or last == "uri" or path[0] == "preloaded_keys" else "certd"
    )


def _owned(data: bytes, service: str, ids: Ids) -> PlannedFile:
    uid = None if service == "config" else ids.of(service)
    return PlannedFile(data, uid, uid)


def _flat_strings(path: KeyPath, name: str, data: bytes) -> list[Finding]:
    """Check the file that additional_info names."""
    if path != ("additional_info",):
        return []
    expected = "TOML, a flat table of strings"
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return [Finding(path, f"file {name!r} cannot be used: {error}", expected)]
    wrong = [key for key, value in table.items() if not isinstance(value, str)]
    return [Finding(path, f"key {key!r} of file {name!r} is no string", expected) for key in wrong]


def _replaced_text(document: Document, work: _Work) -> str:
    text = document.text
    places = document.locations.values
    texts = {places[path]: emit.dump_value(value) for path, value in work.replaced.items()}
    texts |= work.texts
    for span in sorted(texts, key=lambda span: span.start, reverse=True):
        text = text[: span.start] + texts[span] + text[span.end :]
    return text


def _replaced_tables(value: Any, replaced: Mapping[KeyPath, object], path: KeyPath = ()) -> Any:
    if path in replaced:
        return replaced[path]
    if isinstance(value, dict):
        return {k: _replaced_tables(v, replaced, (*path, k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_replaced_tables(v, replaced, (*path, n)) for n, v in enumerate(value)]
    return value
