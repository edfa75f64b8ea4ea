"""Direct methods that the hub answers itself: `RefreshDeviceScopeIdentityCache`, and no other.

Payload `{"deviceIds": ["DEVICE" | "DEVICE/MODULE", ...]}`; the whole scope is asked for, whomever
it names. Source: azure-iot-edge.md §6.1.
"""

import json
from collections.abc import Awaitable, Callable

from skerry.base.errors import SkerryError

REFRESH = "RefreshDeviceScopeIdentityCache"
_DONE, _BAD, _NOT_FOUND, _FAILED = 200, 400, 404, 500


class OwnMethods:
    """`refresh` asks for the scope; it raises SkerryError when that fails."""

    def __init__(self, refresh: Callable[[], Awaitable[None]]) -> None:
        self._refresh = refresh

    async def call(self, name: str, payload: bytes) -> tuple[int, bytes]:
        """Return status and payload of the answer."""
        if name != REFRESH:
            return _NOT_FOUND, _said(f"the edge hub has no method {name!r}, only {REFRESH!r}")
        if not _names_devices(payload):
            return _BAD, _said('expected {"deviceIds": [TEXT, ...]}')
        try:
            await self._refresh()
        except SkerryError as error:
            return _FAILED, _said(str(error))
        return _DONE, b"null"


def _names_devices(payload: bytes) -> bool:
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return False
    ids = found.get("deviceIds") if isinstance(found, dict) else None
    return isinstance(ids, list) and all(isinstance(one, str) for one in ids)


def _said(message: str) -> bytes:
    return json.dumps({"message": message}).encode()
