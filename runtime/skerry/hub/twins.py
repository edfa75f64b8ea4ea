"""Twins of the hub's clients: the cloud's while it can be asked, else as they were last seen.

Invariants
- A reported patch is acknowledged when it is on disk; what the cloud does not have yet is kept as
  one merged patch and sent when it can be reached.
- Desired properties only move forward: a patch counts if it is the next version, else the whole
  twin is asked for and the client is sent the difference.

Source: azure-iot-edge.md §6.8. To be used on the loop.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from skerry.base.log import Logger
from skerry.heads.links import Links
from skerry.hub.errors import AccessError, HubError, OfflineError
from skerry.hub.figures import CLOUD, Figures
from skerry.hub.store.documents import Documents
from skerry.wire.identity import Identity
from skerry.wire.twins import MAX_BYTES, TwinError, check, diff, merge, size_bytes

_KIND = "twin"
_FIRST_SECONDS = 10.0
_VERSION = "$version"
_BAD, _TOO_LARGE = 400, 413


class Cloud(Protocol):
    """The connection of one client."""

    @property
    def is_connected(self) -> bool:
        """Whether it can be asked now."""

    async def tried(self, seconds: float) -> None:
        """Wait until the first attempt to connect has an outcome, at most so long."""

    async def twin(self) -> dict[str, object]:
        """Return the client's twin. Raises: OfflineError, AccessError."""

    async def report(self, patch: Mapping[str, object]) -> int:
        """Change reported properties. Raises: OfflineError, AccessError."""


@dataclass(frozen=True)
class _Kept:
    desired: Mapping[str, object] = field(default_factory=lambda: {_VERSION: 0})
    reported: Mapping[str, object] = field(default_factory=lambda: {_VERSION: 0})
    unsent: Mapping[str, object] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        parts = {"desired": self.desired, "reported": self.reported, "unsent": self.unsent}
        return json.dumps(parts, separators=(",", ":")).encode()


class TwinKeeper:
    """The twins of all clients; `cloud` gives a client's connection."""

    def __init__(
        self,
        documents: Documents,
        cloud: Callable[[Identity], Cloud],
        links: Links,
        figures: Figures,
        log: Logger,
    ) -> None:
        self._documents = documents
        self._cloud = cloud
        self._links = links
        self._figures = figures
        self._log = log
        self._kept = {
            Identity.parse(key): _Kept(**json.loads(value))
            for key, value in documents.all(_KIND).items()
        }
        self._tasks: set[asyncio.Task[None]] = set()
        self._syncing: set[Identity] = set()

    async def settled(self) -> None:
        """Wait until nothing is under way with the cloud."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def document(self, identity: Identity) -> Mapping[str, object]:
        """Return the twin as a client sees it: what it has reported stands, sent or not."""
        if identity not in self._kept:  # a new client: the cloud's twin is worth a wait
            await self._cloud(identity).tried(_FIRST_SECONDS)
        try:
            await self._read(identity)
        except OfflineError:
            pass  # as it was last seen
        except AccessError as error:
            self._log.warning("twin not read", client=str(identity), reason=error)
        kept = self._kept.get(identity, _Kept())
        return {"desired": kept.desired, "reported": kept.reported}

    async def report(self, identity: Identity, patch: object) -> int:
        """Change reported properties. Raises: AccessError 400, 413."""
        try:
            wanted = check(patch, "properties.reported")
        except TwinError as error:
            raise AccessError(_BAD, str(error)) from error
        kept = self._kept.get(identity, _Kept())
        version = _version(kept.reported) + 1
        merged = {**merge(_bare(kept.reported), wanted), _VERSION: version}
        if size_bytes(merged) > MAX_BYTES:
            raise AccessError(
                _TOO_LARGE, f"properties.reported has more than {MAX_BYTES} bytes with this patch"
            )
        unsent = _joined(kept.unsent, wanted)
        await self._keep(identity, replace(kept, reported=merged, unsent=unsent))
        self._sync(identity)
        return version

    async def set_desired(self, identity: Identity, patch: Mapping[str, object]) -> None:
        """Change desired properties where no cloud does. Raises: AccessError 400, 413."""
        try:
            wanted = check(patch, "properties.desired")
        except TwinError as error:
            raise AccessError(_BAD, str(error)) from error
        kept = self._kept.get(identity, _Kept())
        version = _version(kept.desired) + 1
        merged = {**merge(_bare(kept.desired), wanted), _VERSION: version}
        if size_bytes(merged) > MAX_BYTES:
            raise AccessError(
                _TOO_LARGE, f"properties.desired has more than {MAX_BYTES} bytes with this patch"
            )
        await self._changed(identity, replace(kept, desired=merged), version, wanted)

    def connected(self, identity: Identity) -> None:
        """The cloud can be asked: send what it lacks, and look for what was missed."""
        self._spawn(self._catch_up(identity))

    def desired(self, identity: Identity, version: int, patch: Mapping[str, object]) -> None:
        """The cloud tells of a change."""
        kept = self._kept.get(identity, _Kept())
        if version == _version(kept.desired) + 1:
            merged = {**merge(_bare(kept.desired), _bare(patch)), _VERSION: version}
            self._spawn(self._changed(identity, replace(kept, desired=merged), version, patch))
        elif version > _version(kept.desired):
            self._spawn(self._catch_up(identity))

    async def _changed(
        self, identity: Identity, kept: _Kept, version: int, patch: Mapping[str, object]
    ) -> None:
        await self._keep(identity, kept)
        link = self._links.get(identity)
        if link is not None and (bare := _bare(patch)):
            link.desired(version, bare)

    async def _catch_up(self, identity: Identity) -> None:
        try:
            before = self._kept.get(identity, _Kept()).desired
            await self._read(identity)
        except HubError as error:
            self._log.debug("twin not read", client=str(identity), reason=str(error))
            return
        after = self._kept[identity].desired
        link, patch = self._links.get(identity), diff(_bare(before), _bare(after))
        if link is not None and patch and _version(before):
            link.desired(_version(after), patch)
        self._sync(identity)

    async def _read(self, identity: Identity) -> None:
        with self._figures.twin(CLOUD, identity):
            found = await self._cloud(identity).twin()
        desired, reported = found.get("desired"), found.get("reported")
        if not isinstance(desired, dict) or not isinstance(reported, dict):
            raise AccessError(502, f"the cloud's twin of {identity} lacks desired or reported")
        kept = self._kept.get(identity, _Kept())
        if _version(desired) < _version(kept.desired):
            desired = dict(kept.desired)  # an answer that was overtaken by a patch
        version = max(_version(reported), _version(kept.reported))
        mine = {**merge(_bare(reported), kept.unsent), _VERSION: version}
        await self._keep(identity, replace(kept, desired=desired, reported=mine))

    def _sync(self, identity: Identity) -> None:
        if identity not in self._syncing and self._kept[identity].unsent:
            self._syncing.add(identity)
            self._spawn(self._send(identity))

    async def _send(self, identity: Identity) -> None:
        try:
            while unsent := self._kept[identity].unsent:
                with self._figures.report(CLOUD, identity):
                    await self._cloud(identity).report(unsent)
                kept = self._kept[identity]
                left = {} if kept.unsent == unsent else _without(kept.unsent, unsent)
                await self._keep(identity, replace(kept, unsent=left))
        except OfflineError:
            return  # sent when the connection stands again
        except AccessError as error:
            self._log.error("the cloud refuses properties", client=str(identity), reason=error)
            await self._keep(identity, replace(self._kept[identity], unsent={}))
        finally:
            self._syncing.discard(identity)

    async def _keep(self, identity: Identity, kept: _Kept) -> None:
        self._kept[identity] = kept
        done = self._documents.put(_KIND, str(identity), kept.to_bytes())
        await asyncio.wrap_future(done)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _version(part: Mapping[str, object]) -> int:
    found = part.get(_VERSION)
    return found if isinstance(found, int) else 0


def _bare(part: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in part.items() if not name.startswith("$")}


def _joined(first: Mapping[str, object], second: Mapping[str, object]) -> dict[str, object]:
    """Return one patch for two, nulls kept: the cloud still has to remove what they name."""
    joined = dict(first)
    for name, value in second.items():
        former = joined.get(name)
        both = isinstance(former, Mapping) and isinstance(value, Mapping)
        joined[name] = _joined(former, value) if both else value  # type: ignore[arg-type]
    return joined


def _without(patch: Mapping[str, object], sent: Mapping[str, object]) -> dict[str, object]:
    """Return what of a patch is still to be sent after a former state of it was."""
    left: dict[str, object] = {}
    for name, value in patch.items():
        if name not in sent:
            left[name] = value
            continue
        former = sent[name]
        if isinstance(value, Mapping) and isinstance(former, Mapping):
            if inner := _without(value, former):
                left[name] = inner
        elif value != former or isinstance(value, bool) != isinstance(former, bool):
            left[name] = value
    return left
