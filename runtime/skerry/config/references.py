"""Secrets and the references that stand for them in the installed config.toml.

A sealed secret is written `{ secret = "sealed:<key path>" }`; its value is in `secrets.json` of the
generation. A reference without the prefix names an entry of [secrets].
"""

from collections.abc import Iterator, Mapping
from typing import Any

from skerry.config.problems import Finding, KeyPath, key_text

PREFIX = "sealed:"


def reference(path: KeyPath) -> str:
    """Return the name under which the secret at a key path is sealed."""
    return PREFIX + key_text(path)


def is_reference(value: object) -> bool:
    """Tell whether a value is a reference of either kind."""
    return isinstance(value, dict) and set(value) == {"secret"} and isinstance(value["secret"], str)


def is_named(value: object) -> bool:
    """Tell whether a value is a reference to an entry of [secrets]."""
    return is_reference(value) and not value["secret"].startswith(PREFIX)  # type: ignore[index]


def resolve(
    tables: dict[str, Any], sealed: Mapping[str, str] | None
) -> tuple[dict[str, Any], list[Finding]]:
    """Put sealed values in place of their references; without `sealed` the references stay.

    So do those of [secrets]: edged may have them (`skerry.config.vault`).
    """
    if sealed is None:
        return tables, []
    findings: list[Finding] = []
    resolved = _resolve(tables, sealed, (), findings)
    return resolved, findings


def not_held(path: KeyPath) -> Finding:
    """Return what is wrong with a reference to a secret that came from another device."""
    return Finding(path, "refers to a secret that this device does not hold", "the secret itself")


def _resolve(value: Any, sealed: Mapping[str, str], path: KeyPath, findings: list[Finding]) -> Any:
    if is_reference(value) and value["secret"].startswith(PREFIX):
        name = value["secret"].removeprefix(PREFIX)
        if name in sealed:
            return sealed[name]
        if path[0] == "secrets":
            return value
        findings.append(not_held(path))
    elif isinstance(value, dict):
        return {key: _resolve(item, sealed, (*path, key), findings) for key, item in value.items()}
    elif isinstance(value, list):
        return [_resolve(v, sealed, (*path, n), findings) for n, v in enumerate(value)]
    return value


def value_at(tables: Mapping[str, Any], path: KeyPath) -> Any:
    """Return the value at a key path, None where there is none."""
    found: Any = tables
    for part in path:
        table = isinstance(found, Mapping) and part in found
        array = isinstance(found, list) and isinstance(part, int) and part < len(found)
        if not table and not array:
            return None
        found = found[part]
    return found


def strings(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Yield every string of a document with its key path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from strings(item, (*path, index))
