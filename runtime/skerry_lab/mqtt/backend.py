"""The lab's hub behind the heads: everything is asked on the database's thread."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from skerry.heads.model import Outgoing, Telemetry
from skerry.heads.ports import Admitted, Claim
from skerry.heads.routes import Answer, Request
from skerry.wire.identity import Identity
from skerry.wire.mqtt import Connect
from skerry.wire.topics import c2d_topic, join_properties
from skerry_lab.cloud import Cloud
from skerry_lab.dps.mqtt import DpsLink, is_dps
from skerry_lab.errors import ApiError
from skerry_lab.messages.model import C2d
from skerry_lab.messages.model import Outcome as End
from skerry_lab.registry.access import Connected

T = TypeVar("T")


class Data(Protocol):
    """The lab's data: `skerry_lab.store.Store`."""

    async def ado(self, work: Callable[[Cloud], T]) -> T: ...

    async def answer(self, request: Request) -> Answer: ...


class LabBackend:
    """A `Backend` on a store."""

    def __init__(self, store: Data) -> None:
        self._store = store

    async def connect(self, claim: Claim, *, keeps_session: bool) -> Admitted:
        """Judge a client."""

        def work(cloud: Cloud) -> Admitted:
            granted = _connected(cloud, claim)
            if not keeps_session:
                cloud.sessions.delete(claim.identity)
            # A lab that was killed has left its locks.
            cloud.messages.release(claim.identity)
            return Admitted(granted.expires_at, cloud.sessions.load(claim.identity))

        return await self._store.ado(work)

    async def check(self, claim: Claim) -> float | None:
        """Judge again."""
        return (await self._store.ado(lambda cloud: _connected(cloud, claim))).expires_at

    async def remember(
        self, identity: Identity, filters: Callable[[], Mapping[str, int] | None]
    ) -> None:
        """Keep a session's subscriptions."""

        def work(cloud: Cloud) -> None:
            cloud.messages.check_registered(identity)
            found = filters()
            if found is not None:
                cloud.sessions.save(identity, found)

        await self._store.ado(work)

    async def twin(self, identity: Identity) -> Mapping[str, object]:
        """Return the client's twin."""
        return await self._store.ado(lambda cloud: cloud.twins.document(identity))

    async def report(self, identity: Identity, patch: object) -> int:
        """Change reported properties."""
        return await self._store.ado(lambda cloud: cloud.twins.patch_reported(identity, patch))

    async def append(self, batch: Sequence[Telemetry]) -> Mapping[int, str]:
        """Store messages, all or none."""
        await self._store.ado(lambda cloud: cloud.messages.append(batch))
        return {}

    def takes(self, identity: Identity, filters: Mapping[str, int]) -> bool:
        """Tell whether a client wants messages from the cloud."""
        tail = "" if identity.module_id is None else f"modules/{identity.module_id}/"
        return f"devices/{identity.device_id}/{tail}messages/devicebound/#" in filters

    async def take(
        self, identity: Identity, filters: Mapping[str, int], limit: int
    ) -> Sequence[Outgoing]:
        """Lock messages to the client."""
        found = await self._store.ado(lambda cloud: cloud.messages.next_c2d(identity, limit))
        return [_outgoing(message) for message in found]

    async def settle(self, identity: Identity, tokens: Sequence[str]) -> None:
        """The client has these."""
        await self._end(identity, tokens, End.COMPLETE)

    async def give_back(self, identity: Identity, tokens: Sequence[str]) -> None:
        """The client has gone without these; a newer connection may have others by now."""
        await self._end(identity, tokens, End.ABANDON)

    def service(self, packet: Connect) -> DpsLink | None:
        """Return a new client's side of DPS, if the client wants that."""
        return DpsLink(self._store) if is_dps(packet.username) else None

    async def _end(self, identity: Identity, tokens: Sequence[str], end: End) -> None:
        def work(cloud: Cloud) -> None:
            for token in tokens:
                try:
                    cloud.messages.settle(identity, token, end)
                except ApiError:
                    continue  # its lock has ended already, or its device has

        await self._store.ado(work)


def _connected(cloud: Cloud, claim: Claim) -> Connected:
    name = claim.name
    return cloud.access.connect(
        claim.identity, name.host, claim.token, claim.certificates, name.auth_chain
    )


def _outgoing(message: C2d) -> Outgoing:
    identity = message.identity
    bag = join_properties(message.system, message.properties)
    topic = c2d_topic(identity.device_id, bag, identity.module_id)
    return Outgoing(message.lock_token, topic, message.body, message.delivery_count > 1)
