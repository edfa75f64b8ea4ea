"""The place of the cloud on a device that has none: nobody to ask, nothing that comes.

Twins are kept here alone; a message that a route would send upstream is refused with the settings
(`skerry.hub.hub`), so nothing waits for a cloud that never comes.
"""

from collections.abc import Mapping

from skerry.heads.model import Outgoing
from skerry.hub.errors import OfflineError
from skerry.wire.identity import Identity


class NoLink:
    """A client's connection to nowhere."""

    is_connected = False

    async def tried(self, seconds: float) -> None:
        """There is nothing to wait for."""

    async def twin(self) -> dict[str, object]:
        """Raises: OfflineError. What is kept is the twin."""
        raise OfflineError("this device has no cloud")

    async def report(self, patch: Mapping[str, object]) -> int:
        """Take a patch that is already kept."""
        return 0


class NoCloud:
    """In the place of `CloudClients`."""

    def __init__(self) -> None:
        self._link = NoLink()

    def get(self, identity: Identity) -> NoLink:
        """Return the same for everybody."""
        return self._link

    async def stop(self) -> None:
        """There is nothing to end."""

    def take(self, identity: Identity, limit: int) -> list[Outgoing]:
        """Hand out nothing."""
        return []

    def settle(self, tokens: list[str]) -> None:
        """There are no such messages."""

    def give_back(self, identity: Identity, tokens: list[str]) -> None:
        """There are no such messages."""

    @staticmethod
    def owns(token: str) -> bool:
        return False
