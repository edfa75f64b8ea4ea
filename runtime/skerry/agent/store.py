"""What the agent remembers over restarts.

    <storage>/memory.json   {"boot": "…", "modules": {name: {...}}}, written whole and atomically

`boot` is the kernel's id of the boot during which it was written. A file that cannot be read is set
aside as `memory.json.broken` and counts as empty: forgetting how often a module restarted is better
than not starting any.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from skerry.agent.kept import read_or_set_aside
from skerry.agent.model import Memory
from skerry.base.files import write_atomic
from skerry.base.log import Logger

_MAX_BYTES = 4 * 1024 * 1024
_TIMES = ("last_restart", "last_failure")


@dataclass(frozen=True)
class Remembered:
    """The memory of all modules, and the boot it is from."""

    boot: str = ""
    modules: Mapping[str, Memory] = field(default_factory=dict)


class MemoryStore:
    """Keeps what is remembered in one file."""

    def __init__(self, folder: Path, log: Logger) -> None:
        self._path = folder / "memory.json"
        self._log = log
        self._written: bytes | None = None

    def load(self) -> Remembered:
        """Return what is remembered."""
        return read_or_set_aside(self._path, _MAX_BYTES, _remembered, Remembered(), self._log)

    def save(self, remembered: Remembered) -> None:
        """Write what is remembered, if it changed."""
        modules = {name: _to_json(entry) for name, entry in sorted(remembered.modules.items())}
        table = {"boot": remembered.boot, "modules": modules}
        data = json.dumps(table, separators=(",", ":")).encode()
        if data != self._written:
            write_atomic(self._path, data, mode=0o600)
            self._written = data


def _remembered(table: Mapping[str, Any]) -> Remembered:
    modules = {name: _from_json(entry) for name, entry in table["modules"].items()}
    return Remembered(str(table["boot"]), modules)


def _to_json(memory: Memory) -> dict[str, Any]:
    fields = asdict(memory)
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in fields.items()
    }


def _from_json(entry: Mapping[str, Any]) -> Memory:
    fields = dict(entry)
    for name in _TIMES:
        if fields.get(name) is not None:
            fields[name] = datetime.fromisoformat(fields[name])
    return Memory(**fields)
