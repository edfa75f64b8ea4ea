"""Which module a caller is: its process, as the kernel names it, and the container that is in.

A container's id never changes hands, so what was learnt of one is kept: a call costs the engine
nothing from the second on. A process of the host, and one of a container that is not ours, is no
module.
"""

import threading
from collections.abc import Callable

from skerry.base.http import HttpError, Request
from skerry.base.peer import Peer, container_id
from skerry.engine.errors import EngineNotFoundError
from skerry.engine.model import Engine
from skerry.workloads.model import OWNER, OWNER_LABEL, module_of
from skerry.workloads.sockets import ENDPOINT

_REMEMBERED = 512


class Callers:
    """Tells modules apart; `container_of` asks the kernel."""

    def __init__(
        self, engine: Engine, agent: str, container_of: Callable[[Peer], str | None] = container_id
    ) -> None:
        self._engine = engine
        self._agent = agent
        self._container_of = container_of
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}

    def module(self, peer: Peer) -> str | None:
        """Return the module that a peer belongs to; raises EngineError when it cannot be told."""
        identity = self._container_of(peer)
        if identity is None:
            return None
        with self._lock:
            known = self._names.get(identity)
        return known or self._look_up(identity)

    def require_agent(self, request: Request) -> None:
        """Raise HttpError 403 unless the edge agent's container calls."""
        if self.module(request.peer) != self._agent:
            raise HttpError(403, "forbidden: only the edge agent may do this")

    def require_module(self, request: Request, identity: str) -> None:
        """Raise HttpError 403 unless the caller is the named module, on its own socket."""
        module = module_of(identity)
        socket = request.endpoint.removeprefix(ENDPOINT)
        own_socket = socket == request.endpoint or socket == module
        if not own_socket or self.module(request.peer) != module:
            raise HttpError(403, "forbidden")

    def _look_up(self, identity: str) -> str | None:
        try:
            container = self._engine.inspect(identity)
        except EngineNotFoundError:
            return None
        if container.labels.get(OWNER_LABEL) != OWNER or container.id != identity:
            return None
        with self._lock:
            if len(self._names) >= _REMEMBERED:
                self._names.clear()
            self._names[identity] = container.name
        return container.name
