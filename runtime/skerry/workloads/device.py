"""Who this device is, once identityd has said so; everything that needs it asks here."""

import threading

from skerry.identity.client import Identity
from skerry.workloads.errors import NotReadyError

UPSTREAM = "$upstream"
"""In the name of an image or of its registry: the parent device, the hub where there is none."""


class Device:
    """Holds the identity of the device; set once by the bootstrap."""

    def __init__(self) -> None:
        self._known = threading.Event()
        self._identity: Identity | None = None

    def set(self, identity: Identity) -> None:
        self._identity = identity
        self._known.set()

    def identity(self) -> Identity:
        """Return the device's identity; raises NotReadyError before there is one."""
        if self._identity is None:
            raise NotReadyError(
                "this device has no identity yet; identityd is asked every 5 s "
                "(journalctl -u skerry-edged)"
            )
        return self._identity

    def resolve(self, text: str) -> str:
        """Return a text with `$upstream` replaced; raises NotReadyError."""
        return text.replace(UPSTREAM, self.identity().gateway_host) if UPSTREAM in text else text
