"""What the agent remembers over restarts.

    <storage>/memory.json   {"modules": {name: {...}}}, written whole and atomically

A file that cannot be read is set aside as `memory.json.broken` and counts as empty: forgetting how
often a module restarted is better than not starting any.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from skerry.agent.model import Memory
from skerry.base.files import FileTooLargeError, read_limited, write_atomic
from skerry.base.log import Logger

_MAX_BYTES = 4 * 1024 * 1024
_TIMES = ("last_restart", "last_failure")


class MemoryStore:
    """The memory of all modules."""

    def __init__(self, folder: Path, log: Logger) -> None:
        self._path = folder / "memory.json"
        self._log = log
        self._written: bytes | None = None

    def load(self) -> dict[str, Memory]:
        """Return what is remembered."""
        try:
            table = json.loads(read_limited(self._path, _MAX_BYTES))["modules"]
            return {name: _from_json(entry) for name, entry in table.items()}
        except FileNotFoundError:
            return {}
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            FileTooLargeError,
        ) as error:
            self._log.warning("memory set aside", path=self._path, reason=error)
            self._path.replace(self._path.with_name(f"{self._path.name}.broken"))
            return {}

    def save(self, memory: Mapping[str, Memory]) -> None:
        """Write what is remembered, if it changed."""
        table = {name: _to_json(entry) for name, entry in sorted(memory.items())}
        data = json.dumps({"modules": table}, separators=(",", ":")).encode()
        if data != self._written:
            write_atomic(self._path, data, mode=0o600)
            self._written = data


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
