"""Whether modules are ready: asked in the background, remembered for as long as a container runs.

A module without `readiness` is ready while it runs, and so is one that ended well and for good. A
probe that has succeeded once is not asked again until the module starts anew; one that has not
succeeded within its time makes the module late, which holds up nobody any more.
"""

import http.client
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import datetime

from skerry.agent.model import Actual, Readiness, ReadinessKind, RuntimeStatus, Wanted
from skerry.base.clock import Clock
from skerry.base.errors import SkerryError

_PROBE_SECONDS = 2.0
_GOOD_STATUS = range(200, 400)
_LOG_BYTES = 1024 * 1024

Logs = Callable[[str, datetime | None], Iterable[bytes]]
"""Gives a module's output since a time."""


@dataclass
class _Watch:
    since: float
    started: datetime | None
    is_ready: bool = False
    probe: Future[bool] | None = None


@dataclass
class ReadinessWatch:
    """Looks at modules once per round."""

    logs: Logs
    pool: Executor
    clock: Clock
    _watches: dict[str, _Watch] = field(default_factory=dict)
    waiting: frozenset[str] = frozenset()
    """Modules that are not ready yet and still have time."""
    late: Mapping[str, str] = field(default_factory=dict)
    """Modules whose time is over, with a word on it."""

    def look(self, modules: Mapping[str, Wanted], actual: Mapping[str, Actual]) -> None:
        """Take the answers that have come and ask again."""
        waiting, late = set(), {}
        for name in set(self._watches) - set(modules):
            del self._watches[name]
        for name, module in modules.items():
            found, asked = actual.get(name), module.readiness
            if asked is None:
                continue
            if found is None or found.status is not RuntimeStatus.RUNNING:
                self._watches.pop(name, None)
                continue
            watch = self._watches.get(name)
            if watch is None or watch.started != found.started:
                watch = self._watches[name] = _Watch(self.clock.monotonic(), found.started)
            if self._is_ready(watch, asked, found):
                continue
            if self.clock.monotonic() - watch.since < asked.timeout_seconds:
                waiting.add(name)
            else:
                late[name] = f"not ready within {asked.timeout_seconds:g} s ({asked})"
        self.waiting, self.late = frozenset(waiting), late

    def _is_ready(self, watch: _Watch, asked: Readiness, found: Actual) -> bool:
        if not watch.is_ready and watch.probe is None:
            watch.probe = self.pool.submit(probe, asked, found, self.logs)
        if watch.probe is not None and watch.probe.done():
            watch.is_ready = watch.probe.result()
            watch.probe = None
        return watch.is_ready


def probe(asked: Readiness, found: Actual, logs: Logs) -> bool:
    """Ask a module once; what goes wrong counts as no."""
    try:
        match asked.kind:
            case ReadinessKind.HEALTHCHECK:
                return found.health == "healthy"
            case ReadinessKind.TCP:
                socket.create_connection((found.name, asked.port), _PROBE_SECONDS).close()
                return True
            case ReadinessKind.HTTP:
                return _http_status(found.name, asked) in _GOOD_STATUS
            case ReadinessKind.LOG:
                return _is_in(asked.pattern, logs(found.name, found.started))
    except (OSError, SkerryError, http.client.HTTPException):
        return False


def _http_status(host: str, asked: Readiness) -> int:
    connection = http.client.HTTPConnection(host, asked.port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", asked.path, headers={"Connection": "close"})
        return connection.getresponse().status
    finally:
        connection.close()


def _is_in(pattern: str, output: Iterable[bytes]) -> bool:
    held = b""
    for part in output:
        held = (held + part)[-_LOG_BYTES:]
    return re.search(pattern, held.decode(errors="replace"), re.MULTILINE) is not None
