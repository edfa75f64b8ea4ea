"""What config.toml can say and this version cannot do yet: refused by name, never ignored.

One row per gap, `(key path, condition on the value, message)`; "*" in a path stands for any key. A
later version deletes its row. The plan knows all of it already, so nothing else changes with a row.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from skerry.config.problems import Finding, KeyPath

Row = tuple[str, Callable[[Any], bool], str]

_LISTEN = {"fd://aziot-edged.workload.socket", "fd://aziot-edged.mgmt.socket"}
_CONNECT = {"unix:///var/run/iotedge/workload.sock", "unix:///var/run/iotedge/mgmt.sock"}
_OURS = {
    "fd://skerry-edged-workload.socket", "fd://skerry-edged-mgmt.socket",
    "unix:///run/skerry/workload.sock", "unix:///run/skerry/mgmt.sock",
}  # fmt: skip


def _always(_: Any) -> bool:
    return True


def _not_in(known: set[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value not in known


def _npipe(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("npipe:")


TABLE: tuple[Row, ...] = (
    ("parent_hostname", _always, "nested edge"),
    ("local_gateway_hostname", _always, "nested edge"),
    ("localid", _always, "local identities"),
    ("connect.*", _not_in(_CONNECT | _OURS), "another address of the workload and management API"),
    ("listen.workload_uri", _not_in(_LISTEN | _OURS), "listening elsewhere"),
    ("listen.management_uri", _not_in(_LISTEN | _OURS), "listening elsewhere"),
    ("moby_runtime.uri", _npipe, "a container engine behind a named pipe"),
    ("agent.config.imageHash", _always, "pinning the agent's image"),
    ("agent.config.digest", _always, "pinning the agent's image"),
)


def refused(tables: Mapping[str, Any]) -> list[Finding]:
    """Return a finding for everything in the tables that this version cannot do."""
    findings: dict[KeyPath, Finding] = {}
    for pattern, applies, what in TABLE:
        for path, value in _along(tables, pattern.split("."), ()):
            if applies(value):
                finding = Finding(path, f"{what} is not implemented in this version", on_key=True)
                findings.setdefault(path, finding)
    return list(findings.values())


def _along(value: Any, parts: list[str], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if not parts:
        yield path, value
    elif isinstance(value, dict):
        for key in value if parts[0] == "*" else [parts[0]]:
            if key in value:
                yield from _along(value[key], parts[1:], (*path, key))
