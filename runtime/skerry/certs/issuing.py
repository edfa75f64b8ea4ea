"""Which key signs a request, and the chain that comes out of it.

A local CA that the settings have issued, and not preloaded, is made when the first certificate is
asked of it and again, for the same key, when it has expired. It may issue one further CA level.
"""

import threading
from datetime import timedelta

from cryptography.x509 import Name

from skerry.base.clock import Clock
from skerry.certs import x509
from skerry.certs.errors import ParameterError
from skerry.certs.model import DEFAULT_EXPIRY_DAYS, Issuance, LocalCa, Method, Settings
from skerry.certs.remote_key import remote_key
from skerry.certs.store import CertStore
from skerry.keys.client import KeysClient


class CertIssuer:
    """Issues certificates by the settings, with keys that stay in keyd."""

    def __init__(
        self, settings: Settings, store: CertStore, keys: KeysClient, clock: Clock
    ) -> None:
        self._settings = settings
        self._store = store
        self._keys = keys
        self._clock = clock
        self._making_ca = threading.Lock()

    def by_settings(self, cert_id: str, csr_pem: bytes) -> bytes:
        """Issue as `cert_issuance.<id>` says; returns the PEM chain, leaf first."""
        issuance = self._settings.issuance.get(cert_id)
        if issuance is None:
            raise ParameterError(
                f"there is no cert_issuance for {cert_id!r}; name an issuer in the request"
            )
        if issuance.method is Method.SELF_SIGNED:
            return self._self_signed(cert_id, csr_pem, issuance)
        local_ca = self._settings.local_ca
        if local_ca is None:
            raise ParameterError(
                f"cert_issuance.{cert_id} wants local_ca, but cert_issuance.local_ca is not set"
            )
        handle = self._local_ca_key(local_ca)
        return self._by_ca(csr_pem, local_ca.cert_id, handle, issuance)

    def by_issuer(self, cert_id: str, csr_pem: bytes, issuer_id: str, key_handle: str) -> bytes:
        """Issue by a CA that the caller names, with a key the caller has a handle for."""
        default = Issuance(Method.LOCAL_CA, DEFAULT_EXPIRY_DAYS)
        issuance = self._settings.issuance.get(cert_id, default)
        return self._by_ca(csr_pem, issuer_id, key_handle, issuance)

    def _local_ca_key(self, local_ca: LocalCa) -> str:
        """Return the handle of the local CA's key, with a certificate in force beside it."""
        issuance = self._settings.issuance.get(local_ca.cert_id)
        if issuance is None or issuance.method is not Method.SELF_SIGNED:
            return self._keys.load_key_pair(local_ca.key_id)
        with self._making_ca:
            handle = self._keys.create_key_pair(local_ca.key_id)
            pem = self._store.find(local_ca.cert_id)
            now = self._clock.now()
            if pem is None or x509.load_chain(pem)[0].not_valid_after_utc <= now:
                key = remote_key(self._keys, handle)
                subject = _subject(issuance) or x509.common_name(local_ca.cert_id)
                request = x509.load_request(x509.ca_request(subject, key, path_length=1))
                lifetime = timedelta(days=issuance.expiry_days)
                certificate = x509.issue(request, key, now=now, lifetime=lifetime)
                self._store.put(local_ca.cert_id, x509.to_pem([certificate]))
            return handle

    def _self_signed(self, cert_id: str, csr_pem: bytes, issuance: Issuance) -> bytes:
        request = x509.load_request(csr_pem)
        key = remote_key(self._keys, self._keys.load_key_pair(cert_id))
        if key.public_key() != request.public_key():
            raise ParameterError(f"the request is not for the key pair {cert_id!r}")
        certificate = x509.issue(
            request,
            key,
            now=self._clock.now(),
            lifetime=timedelta(days=issuance.expiry_days),
            subject=_subject(issuance),
        )
        return x509.to_pem([certificate])

    def _by_ca(self, csr_pem: bytes, issuer_id: str, handle: str, issuance: Issuance) -> bytes:
        request = x509.load_request(csr_pem)
        chain = x509.load_chain(self._store.get(issuer_id))
        issuer = x509.Issuer(chain[0], remote_key(self._keys, handle))
        certificate = x509.issue(
            request,
            issuer,
            now=self._clock.now(),
            lifetime=timedelta(days=issuance.expiry_days),
            subject=_subject(issuance),
        )
        return x509.to_pem([certificate, *chain])


def _subject(issuance: Issuance) -> Name | None:
    return x509.subject_name(issuance.subject) if issuance.subject else None
