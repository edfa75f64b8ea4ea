"""What the hub says of itself: `$edgeHub`'s reported properties, true while the cloud is there.

Invariants
- What is sent is the difference to what the cloud has, which it is asked for on every connection,
  so that whatever a former hub has left there goes.
- The document stays below a twin's size: of too many clients those that fit are named, modules
  first. A client whose name cannot be one of a twin is not named.

Source: azure-iot-edge.md §6.1. To be used on the loop.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import skerry
from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.log import Logger
from skerry.heads.links import Link, Links
from skerry.wire.identity import Identity
from skerry.wire.twins import MAX_BYTES, diff

_MOST_REASON = 1000
_CLIENTS_BYTES = MAX_BYTES - 8 * 1024
_CLIENT_BYTES = 140
"""What is said of a client, at most, beside its name."""

_NO_NAME = ".$# "


class Own(Protocol):
    """The hub's own connection to the cloud."""

    @property
    def is_connected(self) -> bool:
        """Whether `report` can succeed now."""

    async def report(self, patch: Mapping[str, object]) -> int:
        """Change reported properties. Raises: OfflineError, AccessError."""


@dataclass(frozen=True)
class _Contact:
    """When a client was here, as text; `gone` is empty until it was away."""

    came: str
    gone: str = ""
    is_here: bool = True

    def to_json(self) -> dict[str, object]:
        status = "Connected" if self.is_here else "Disconnected"
        found: dict[str, object] = {"status": status, "lastConnectedTimeUtc": self.came}
        return found | ({"lastDisconnectTimeUtc": self.gone} if self.gone else {})


class Reporter:
    """Runs on the loop; `own` gives the hub's connection. It looks every `seconds`."""

    def __init__(
        self, links: Links, own: Callable[[], Own], seconds: float, clock: Clock, log: Logger
    ) -> None:
        self._links = links
        self._seconds = seconds
        self._own = own
        self._clock = clock
        self._log = log
        self._seen: dict[Identity, Link] = {}
        self._contacts: dict[Identity, _Contact] = {}
        self._settings: dict[str, object] = {}
        self._known: Mapping[str, object] | None = None
        self._due = asyncio.Event()

    def told(self, twin: Mapping[str, object], refusal: str) -> None:
        """The cloud has given the hub's twin; `refusal` is why its settings are not in force."""
        desired, reported = twin.get("desired"), twin.get("reported")
        code, text = 200, ""
        if refusal:
            code, text = 400, f"Error while parsing desired properties - {refusal[:_MOST_REASON]}"
        version = desired.get("$version") if isinstance(desired, Mapping) else None
        self._settings = {
            "lastDesiredVersion": version if isinstance(version, int) else 0,
            "lastDesiredStatus": {"code": code, "description": text},
        }
        found = reported if isinstance(reported, Mapping) else {}
        self._known = {name: value for name, value in found.items() if not name.startswith("$")}
        self._due.set()

    async def run(self) -> None:
        """Report what has changed, and at once when settings came."""
        while True:
            self._due.clear()
            self._look()
            await self._send()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._due.wait()

    def _look(self) -> None:
        now = self._clock.now().isoformat().replace("+00:00", "Z")
        for identity in self._links.identities():
            link = self._links.get(identity)
            if link is not None and self._seen.get(identity) is not link:
                former = self._contacts.get(identity)
                self._seen[identity] = link
                self._contacts[identity] = _Contact(now, former.gone if former else "")
        for identity in [one for one in self._seen if self._links.get(one) is None]:
            del self._seen[identity]
            if identity.module_id is None:
                del self._contacts[identity]
            else:
                former = self._contacts[identity]
                self._contacts[identity] = replace(former, gone=now, is_here=False)

    async def _send(self) -> None:
        if self._known is None or not self._own().is_connected:
            return
        wanted = self._document()
        patch = diff(self._known, wanted)
        if not patch:
            return
        self._known = None
        try:
            await self._own().report(patch)
        except SkerryError as error:
            self._log.warning("the hub's state is not reported", reason=error)
        else:
            if self._known is None:
                self._known = wanted

    def _document(self) -> dict[str, object]:
        nameable = (one for one in self._contacts if not set(_NO_NAME) & set(str(one)))
        named = sorted(nameable, key=lambda one: (one.module_id is None, str(one)))
        return {
            "schemaVersion": "1.0",
            "version": {"version": skerry.__version__, "build": "", "commit": ""},
            **self._settings,
            "clients": {str(one): self._contacts[one].to_json() for one in _that_fit(named)},
        }


def _that_fit(clients: Iterable[Identity]) -> Iterator[Identity]:
    room = _CLIENTS_BYTES
    for client in clients:
        room -= len(str(client)) + _CLIENT_BYTES
        if room < 0:
            return
        yield client
