"""The CA that signs for `local_ca`: brought along, or made here.

One that the settings have issued is made when the first certificate is asked of it, and renewed
when its policy says so. Its key and its name stay: what it signed before goes on to verify under
the new certificate, so nothing below it has to change. It may issue one further CA level.
"""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from cryptography.x509 import BasicConstraints, Certificate, ExtensionNotFound

from skerry.base.clock import Clock
from skerry.certs import x509
from skerry.certs.errors import CertsError
from skerry.certs.model import Issuance, LocalCa, Method
from skerry.certs.remote_key import remote_key
from skerry.certs.renewal import life_of
from skerry.certs.store import CertStore
from skerry.keys.client import KeysClient


class LocalCaKeeper:
    """Has the local CA ready to sign; `issuance` is None for one that was brought along.

    `enrol` obtains a certificate by EST; `changed` is called when the CA was made.
    """

    def __init__(
        self,
        local_ca: LocalCa,
        issuance: Issuance | None,
        store: CertStore,
        keys: KeysClient,
        enrol: Callable[[str, bytes], bytes],
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._ids = local_ca
        self._issuance = issuance
        self._store = store
        self._keys = keys
        self._enrol = enrol
        self._clock = clock
        self._changed = changed
        self._making = threading.Lock()

    @property
    def name(self) -> str:
        return f"renew certificate {self._ids.cert_id}"

    def due(self, failed_at: datetime | None) -> datetime | None:
        """Return when to renew; None where there is none yet, or it was brought along."""
        pem = self._store.find(self._ids.cert_id)
        if self._issuance is None or pem is None:
            return None
        life, now = life_of(x509.load_chain(pem)[0]), self._clock.now()
        policy = self._issuance.auto_renew
        return now if policy.is_due(life, now, failed_at) else policy.next_try(life, failed_at)

    def perform(self) -> None:
        """Renew it, for the same key."""
        if self._issuance is not None:
            with self._making:
                handle = self._keys.create_key_pair(self._ids.key_id)
                self._make(self._issuance, handle)

    def handle(self) -> str:
        """Return the handle of the key, with a certificate in force beside it."""
        if self._issuance is None:
            return self._keys.load_key_pair(self._ids.key_id)
        with self._making:
            handle = self._keys.create_key_pair(self._ids.key_id)
            if not self._holds(handle):
                self._make(self._issuance, handle)
                self._changed()
            return handle

    def _holds(self, handle: str) -> bool:
        pem = self._store.find(self._ids.cert_id)
        if pem is None:
            return False
        certificate = x509.load_chain(pem)[0]
        life = life_of(certificate)
        key = remote_key(self._keys, handle).public_key()
        return life.holds(self._clock.now()) and certificate.public_key() == key

    def _make(self, issuance: Issuance, handle: str) -> None:
        cert_id = self._ids.cert_id
        key = remote_key(self._keys, handle)
        named = x509.subject_name(issuance.subject) if issuance.subject else None
        csr = x509.ca_request(named or x509.common_name(cert_id), key, path_length=1)
        if issuance.method is Method.EST:
            pem = self._enrol(cert_id, csr)
            if not _is_ca(x509.load_chain(pem)[0]):
                raise CertsError(
                    f"the EST server answered the request of the CA {cert_id!r} with a certificate "
                    "that is no CA; have the server allow it"
                )
        else:
            lifetime = timedelta(days=issuance.expiry_days)
            now = self._clock.now()
            made = x509.issue(x509.load_request(csr), key, now=now, lifetime=lifetime)
            pem = x509.to_pem([made])
        self._store.put(cert_id, pem)


def _is_ca(certificate: Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
    except ExtensionNotFound:
        return False
