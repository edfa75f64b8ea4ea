"""The containers of this device as last inspected: one question instead of one for each.

Invariant: a container is taken from memory only when its mark in the engine's list is the same as
at most 30 s ago; the engine's mark of one that was started meanwhile is another or none.
"""

from collections.abc import Callable
from dataclasses import dataclass

from skerry.engine.errors import EngineNotFoundError
from skerry.engine.model import Container, Engine

_SECONDS = 30.0


@dataclass(frozen=True)
class _Known:
    mark: str
    at: float
    container: Container


class Seen:
    """Lists containers by label."""

    def __init__(self, engine: Engine, monotonic: Callable[[], float]) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}

    def all(self, label: str) -> list[Container]:
        """Return every container with a label `name=value`, by name."""
        now, former = self._monotonic(), self._known
        found: dict[str, _Known] = {}
        for identity, mark in self._engine.marks(label).items():
            known = former.get(identity)
            if mark and known is not None and known.mark == mark and now - known.at <= _SECONDS:
                found[identity] = _Known(mark, now, known.container)
                continue
            try:
                found[identity] = _Known(mark, now, self._engine.inspect(identity))
            except EngineNotFoundError:
                continue  # removed since the list was made
        self._known = found
        return sorted((one.container for one in found.values()), key=lambda one: one.name)
