"""The device's own certificate: made at the first need, renewed in time, shown to hub and DPS.

A certificate that came with the configuration is used as it is. One that is issued on the device
is replaced when its policy says so, and at once when it is not valid now: a device that slept for
months wakes with a valid one.
"""

import threading
from collections.abc import Callable
from datetime import datetime

from skerry.base.clock import Clock
from skerry.base.log import Logger, step
from skerry.certs import x509
from skerry.certs.client import CertsClient
from skerry.certs.pair import Current, MakeRequest, Pair, Staged
from skerry.identity.settings import CertificateSource
from skerry.keys.client import KeysClient
from skerry.provisioning.errors import CredentialError


class DeviceCertificate:
    """Raises CredentialError, and ApiError and UnreachableError of keyd and certd."""

    def __init__(
        self,
        source: CertificateSource,
        keys: KeysClient,
        certs: CertsClient,
        clock: Clock,
        log: Logger,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._pair = Pair(source.pair_id, keys, certs)
        self._clock = clock
        self._log = log
        self._changed = changed
        self._lock = threading.RLock()

    @property
    def pair_id(self) -> str:
        """The id of the certificate in certd and of its key in keyd."""
        return self._source.pair_id

    def present(self) -> Current:
        """Return the certificate and the handle of its key."""
        with self._lock:
            current = self._pair.current()
            if current is None:
                return self._issue()
            if self._source.policy is not None and not current.holds(self._clock.now()):
                return self.commit(self.stage(current))
            return current

    def due(self, failed_at: datetime | None) -> datetime | None:
        """Return when it is to be renewed, None for never."""
        with self._lock:
            current = self._pair.current() if self._source.policy else None
        if current is None or self._source.policy is None:
            return None
        now = self._clock.now()
        if self._source.policy.is_due(current.life, now, failed_at):
            return now
        return self._source.policy.next_try(current.life, failed_at)

    def stage(self, current: Current | None = None) -> Staged:
        """Make a renewal ready; it is in place after `commit`."""
        with self._lock:
            held = current or self.present()
            rotate = self._source.policy is not None and self._source.policy.rotate_key
            return self._pair.stage(
                lambda key: x509.renewal_request(held.chain[0], key), rotate_key=rotate
            )

    def commit(self, staged: Staged) -> Current:
        """Put a renewal in place."""
        with self._lock:
            current = self._pair.commit(staged)
        self._log.info(
            "device certificate renewed", until=current.chain[0].not_valid_after_utc.isoformat()
        )
        self._changed()
        return current

    def _issue(self) -> Current:
        with step(self._log, self._clock, "identityd", "device identity"):
            current = self._pair.issue(self._request())
        self._log.info(
            "device certificate issued", until=current.chain[0].not_valid_after_utc.isoformat()
        )
        self._changed()
        return current

    def _request(self) -> MakeRequest:
        name = self._source.common_name
        if name is None:
            raise CredentialError(
                f"there is no certificate {self._source.pair_id!r} that belongs to the key of that "
                "name; look at provisioning.attestation.identity_cert and identity_pk"
            )
        return lambda key: x509.client_request(x509.common_name(name), [name], key)
