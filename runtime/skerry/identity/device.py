"""The identity of a standalone device: a key pair in keyd and a certificate for it.

Both are made at the first need and kept. The certificate is issued again, for the same key, when
four fifths of its life are over, so a device that sleeps for months wakes with a valid one;
so is one that is not valid yet, which a clock set back leaves behind.
"""

import threading
from datetime import datetime

from skerry.base.client import ApiError
from skerry.base.clock import Clock
from skerry.base.log import Logger, step
from skerry.certs import x509
from skerry.certs.client import CertsClient
from skerry.certs.remote_key import remote_key
from skerry.identity.model import DEVICE_CERT_ID, DEVICE_KEY_ID, Settings
from skerry.keys.client import KeysClient

_NOT_FOUND = 400
_RENEW_AT = 0.8


class DeviceIdentity:
    """Makes the device's key and certificate, and gives out the handle of the key."""

    def __init__(
        self, settings: Settings, keys: KeysClient, certs: CertsClient, clock: Clock, log: Logger
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._certs = certs
        self._clock = clock
        self._log = log
        self._lock = threading.Lock()

    def key_handle(self) -> str:
        """Return the handle of the device's key, with a certificate that is good for it."""
        with self._lock:
            handle = self._keys.create_key_pair(DEVICE_KEY_ID)
            if not self._certificate_holds(handle):
                with step(
                    self._log,
                    self._clock,
                    "identityd",
                    "device identity",
                    device=self._settings.device_id,
                ):
                    self._issue(handle)
            return handle

    def _certificate_holds(self, handle: str) -> bool:
        try:
            pem = self._certs.get(DEVICE_CERT_ID)
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            return False
        leaf = x509.load_chain(pem)[0]
        if leaf.public_key() != remote_key(self._keys, handle).public_key():
            return False
        start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        return start <= self._clock.now() < renewal_time(start, end)

    def _issue(self, handle: str) -> None:
        device_id = self._settings.device_id
        csr = x509.client_request(
            x509.common_name(device_id), [device_id], remote_key(self._keys, handle)
        )
        self._certs.create(DEVICE_CERT_ID, csr)


def renewal_time(not_before: datetime, not_after: datetime) -> datetime:
    """Return when four fifths of a certificate's life are over."""
    return not_before + (not_after - not_before) * _RENEW_AT
