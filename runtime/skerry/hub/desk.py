"""What people on the device ask of the running hub about its clients: twins and direct methods.

Requests come through the store (`skerry.hub.store.requests`), which only root and the hub can open;
they are done on the loop.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future

from skerry.heads.invocation import InvocationError, invoke, parse_invocation
from skerry.heads.links import Links, NotSubscribedError
from skerry.hub.errors import HubError
from skerry.hub.scope import Scope
from skerry.hub.twins import TwinKeeper
from skerry.wire.identity import Identity

Answer = dict[str, object]
Handler = Callable[[Answer], "Future[Answer]"]


class DeskError(HubError):
    """A request that cannot be fulfilled; the message says why."""


class ClientDesk:
    """Answers `twin`, `desired` and `method`; `has_cloud` tells whose desired properties count."""

    def __init__(
        self,
        scope: Callable[[], Scope],
        twins: TwinKeeper,
        links: Links,
        loop: asyncio.AbstractEventLoop,
        *,
        has_cloud: bool,
    ) -> None:
        self._scope = scope
        self._twins = twins
        self._links = links
        self._loop = loop
        self._has_cloud = has_cloud

    def handlers(self) -> dict[str, Handler]:
        """Return what to do for each request, from any thread."""
        return {
            "twin": self._on_loop(self._twin),
            "desired": self._on_loop(self._desired),
            "method": self._on_loop(self._method),
        }

    def _on_loop(self, work: Callable[[Answer], Coroutine[object, object, Answer]]) -> Handler:
        return lambda request: asyncio.run_coroutine_threadsafe(work(request), self._loop)

    def _client(self, request: Answer) -> Identity:
        identity = Identity.parse(str(request.get("client")))
        if self._scope().get(identity) is None:
            known = ", ".join(sorted(map(str, self._scope().clients))) or "nobody yet"
            raise DeskError(f"{identity} is not a client of this hub; it knows {known}")
        return identity

    async def _twin(self, request: Answer) -> Answer:
        identity = self._client(request)
        twin = await self._twins.document(identity)
        return {
            "client": str(identity),
            "connected": self._links.get(identity) is not None,
            "properties": dict(twin),
        }

    async def _desired(self, request: Answer) -> Answer:
        identity, patch = self._client(request), request.get("patch")
        if self._has_cloud:
            raise DeskError("the desired properties of this device are the cloud's; set them there")
        if not isinstance(patch, Mapping):
            raise DeskError("the patch is not a JSON object")
        await self._twins.set_desired(identity, patch)
        return await self._twin(request)

    async def _method(self, request: Answer) -> Answer:
        identity = self._client(request)
        try:
            wanted = parse_invocation(request)
            return await invoke(self._links, identity, wanted)
        except (InvocationError, NotSubscribedError, TimeoutError) as error:
            raise DeskError(str(error)) from error
