"""Where the transaction of a deployment is kept: `<storage>/transaction.json`, 0600, atomic.

It holds whole manifests, credentials of registries included. A file that cannot be read is set
aside as `transaction.json.broken`; the deployment on offer is then the first one again.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from skerry.agent.deployment import images
from skerry.agent.kept import read_or_set_aside
from skerry.agent.transaction import Candidate, Entry, Outcome, Phase, State
from skerry.base.files import write_atomic
from skerry.base.log import Logger

_MAX_BYTES = 32 * 1024 * 1024
_CANDIDATES = ("good", "former", "trial")


class TransactionStore:
    """Keeps one State."""

    def __init__(self, folder: Path, log: Logger) -> None:
        self._path = folder / "transaction.json"
        self._log = log

    def load(self) -> State:
        """Return the state as last saved, a new one when there is none."""
        return read_or_set_aside(self._path, _MAX_BYTES, _from_json, State(), self._log)

    def save(self, state: State) -> None:
        """Write a state; it is in force when this returns."""
        data = json.dumps(_to_json(state), separators=(",", ":")).encode()
        write_atomic(self._path, data, mode=0o600)


def summary(state: State, problem: str = "") -> dict[str, object]:
    """Return what people are shown: no manifest, so no password."""
    return {
        "phase": state.phase.value,
        "problem": problem,
        "good": _name(state.good),
        "former": _name(state.former),
        "trial": _name(state.trial),
        "began": _time(state.began),
        "bad": dict(state.bad),
        "history": [_entry(entry) for entry in state.history],
        "images": sorted({image for one in _candidates(state) for image in images(one.document)}),
    }


def _candidates(state: State) -> list[Candidate]:
    return [one for one in (state.good, state.former, state.trial) if one is not None]


def _name(candidate: Candidate | None) -> dict[str, object] | None:
    if candidate is None:
        return None
    return {"digest": candidate.digest, "version": candidate.version}


def _entry(entry: Entry) -> dict[str, object]:
    return {
        "digest": entry.digest,
        "version": entry.version,
        "began": entry.began.isoformat(),
        "ended": entry.ended.isoformat(),
        "outcome": entry.outcome.value,
        "reason": entry.reason,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _to_json(state: State) -> dict[str, object]:
    candidates = {name: getattr(state, name) for name in _CANDIDATES}
    documents = {
        name: found and {**(_name(found) or {}), "document": found.document}
        for name, found in candidates.items()
    }
    return {**summary(state), **documents, "answered": state.answered}


def _from_json(table: Mapping[str, Any]) -> State:
    began = table["began"]
    candidates = {name: Candidate(**table[name]) if table[name] else None for name in _CANDIDATES}
    return State(
        phase=Phase(table["phase"]),
        began=began and datetime.fromisoformat(began),
        bad={str(digest): str(reason) for digest, reason in table["bad"].items()},
        history=tuple(
            Entry(
                entry["digest"],
                entry["version"],
                datetime.fromisoformat(entry["began"]),
                datetime.fromisoformat(entry["ended"]),
                Outcome(entry["outcome"]),
                entry["reason"],
            )
            for entry in table["history"]
        ),
        answered=str(table["answered"]),
        **candidates,
    )
