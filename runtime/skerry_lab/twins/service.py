"""What may be done to twins: devices report, services want. No HTTP, no rights."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from skerry.base.clock import Clock
from skerry.wire import twins as wire
from skerry.wire.identity import Identity
from skerry_lab.outbox import Kind, Notice, Outbox
from skerry_lab.registry.errors import HubError, bad_argument, changed_meanwhile
from skerry_lab.registry.service import ANY, Registry
from skerry_lab.twins.model import Twin
from skerry_lab.twins.store import TwinStore


class Twins:
    """To be called on the database's thread."""

    def __init__(self, store: TwinStore, registry: Registry, outbox: Outbox, clock: Clock) -> None:
        self.store = store
        self._registry = registry
        self._outbox = outbox
        self._clock = clock
        self._look: Callable[[Identity, frozenset[str]], None] = _nobody

    def on_change(self, look: Callable[[Identity, frozenset[str]], None]) -> None:
        """Have something look at each change, in the same transaction.

        It is told what has changed of the twin: `tags`, `desired`, `reported`.
        """
        self._look = look

    def get(self, identity: Identity) -> Twin:
        """Return a twin. Raises: HubError 404."""
        self._check_exists(identity)
        return self.store.get(identity)

    def all(self) -> Iterator[tuple[Identity, Twin]]:
        """Yield the twins that were ever changed; all others are empty."""
        return self.store.all()

    def document(self, identity: Identity) -> dict[str, object]:
        """Return a twin as its device or module gets it. Raises: HubError 404."""
        twin = self.get(identity)
        return {"desired": twin.desired.for_client(), "reported": twin.reported.for_client()}

    def patch_reported(self, identity: Identity, patch: object) -> int:
        """Take a report; returns the new version. Raises: HubError 400, 404, 413."""
        twin = self.get(identity)
        checked = _checked(patch, "reported")
        reported = twin.reported.patched(checked, self._time(), with_versions=False)
        _check_size(reported.properties, "reported", wire.MAX_BYTES)
        self.store.put(identity, replace(twin, reported=reported))
        self._look(identity, frozenset({"reported"}))
        return reported.version

    def patch(
        self,
        identity: Identity,
        *,
        tags: object = None,
        desired: object = None,
        if_match: str = ANY,
    ) -> Twin:
        """Merge tags and desired properties. Raises: HubError 400, 404, 412, 413."""
        twin = self._matching(identity, if_match)
        if tags is not None:
            twin = replace(twin, tags=wire.merge(twin.tags, _checked(tags, "tags")))
        patch: Mapping[str, object] = {}
        if desired is not None:
            patch = _checked(desired, "desired")
            part = twin.desired.patched(patch, self._time(), with_versions=True)
            twin = replace(twin, desired=part)
        return self._changed(identity, twin, patch if desired is not None else None)

    def replace(
        self,
        identity: Identity,
        *,
        tags: object = None,
        desired: object = None,
        if_match: str = ANY,
    ) -> Twin:
        """Put tags and desired properties in the place of the former ones; None leaves them.

        Raises: HubError 400, 404, 412, 413.
        """
        twin = self._matching(identity, if_match)
        if tags is not None:
            twin = replace(twin, tags=_without_nulls(_checked(tags, "tags")))
        patch = None
        if desired is not None:
            wanted = _without_nulls(_checked(desired, "desired"))
            patch = wire.diff(twin.desired.properties, wanted)
            twin = replace(twin, desired=twin.desired.replaced(wanted, self._time()))
        return self._changed(identity, twin, patch)

    def set_desired(self, identity: Identity, desired: Mapping[str, object]) -> Twin:
        """Want exactly these properties; nothing happens if that is so. Raises: HubError."""
        twin = self.get(identity)
        patch = wire.diff(twin.desired.properties, desired)
        return self.patch(identity, desired=patch) if patch else twin

    def forget(self, identity: Identity) -> None:
        """Remove the twin of what is removed from the registry."""
        self.store.delete(identity)

    def _changed(self, identity: Identity, twin: Twin, patch: Mapping[str, object] | None) -> Twin:
        _check_size(twin.tags, "tags", wire.MAX_TAGS_BYTES)
        _check_size(twin.desired.properties, "desired", wire.MAX_BYTES)
        twin = replace(twin, version=twin.version + 1)
        self.store.put(identity, twin)
        if patch is not None:
            data = {"version": twin.desired.version, "patch": patch}
            self._outbox.put(Notice(Kind.DESIRED, identity, data))
        self._look(identity, frozenset({"tags"} if patch is None else {"tags", "desired"}))
        return twin

    def _matching(self, identity: Identity, if_match: str) -> Twin:
        twin = self.get(identity)
        if if_match not in (ANY, twin.etag):
            raise changed_meanwhile(if_match, twin.etag)
        return twin

    def _check_exists(self, identity: Identity) -> None:
        if identity.module_id is None:
            self._registry.device(identity.device_id)
        else:
            self._registry.module(identity.device_id, identity.module_id)

    def _time(self) -> str:
        return f"{self._clock.now():%Y-%m-%dT%H:%M:%S.%f}Z"


def _nobody(_: Identity, __: frozenset[str]) -> None:
    """Nobody wants to hear of changes."""


def _checked(properties: object, what: str) -> dict[str, object]:
    if isinstance(properties, dict):
        # What the hub itself adds comes back when a twin is read, changed and written.
        kept = {k: v for k, v in properties.items() if k not in ("$metadata", "$version")}
        properties = kept
    try:
        return wire.check(properties, what)
    except wire.TwinError as error:
        raise bad_argument(str(error)) from error


def _check_size(properties: Mapping[str, object], what: str, limit: int) -> None:
    size = wire.size_bytes(properties)
    if size > limit:
        raise HubError(
            413, "RequestEntityTooLarge", f"{what} has {size} bytes, expected at most {limit}"
        )


def _without_nulls(properties: Mapping[str, object]) -> dict[str, object]:
    return wire.merge({}, properties)
