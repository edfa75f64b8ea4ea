"""Which key signs a request, and the chain that comes out of it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from cryptography.x509 import CertificateSigningRequest, Name

from skerry.base.client import ApiError
from skerry.base.clock import Clock
from skerry.base.upkeep import Job
from skerry.certs import x509
from skerry.certs.errors import ParameterError
from skerry.certs.local_ca import LocalCaKeeper
from skerry.certs.model import DEFAULT_EXPIRY_DAYS, Issuance, Method, Settings, in_use_id
from skerry.certs.remote_key import remote_key
from skerry.certs.store import CertStore
from skerry.certs.x509 import PrivateKey
from skerry.keys.client import KeysClient

_REFUSED = (400, 401)


class Enroller(Protocol):
    """Obtains certificates from servers outside."""

    def enrol(self, cert_id: str, csr_pem: bytes) -> bytes:
        """Return the PEM chain, leaf first."""

    def jobs(self) -> list[Job]:
        """Return what is renewed for it."""


class CertIssuer:
    """Issues certificates by the settings, with keys that stay in keyd.

    `changed` is called when something that has to be renewed was made on the way.
    """

    def __init__(
        self,
        settings: Settings,
        store: CertStore,
        keys: KeysClient,
        enroller: Enroller | None,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._keys = keys
        self._enroller = enroller
        self._clock = clock
        self._local_ca: LocalCaKeeper | None = None
        if settings.local_ca is not None:
            own = settings.issuance.get(settings.local_ca.cert_id)
            if own is not None and own.method is Method.LOCAL_CA:
                own = None
            self._local_ca = LocalCaKeeper(
                settings.local_ca, own, store, keys, self._enrol, clock, changed
            )

    def jobs(self) -> list[Job]:
        """Return what certd renews of its own."""
        own = self._enroller.jobs() if self._enroller is not None else []
        return own if self._local_ca is None else [*own, self._local_ca]

    def by_settings(self, cert_id: str, csr_pem: bytes) -> bytes:
        """Issue as `cert_issuance.<id>` says; returns the PEM chain, leaf first."""
        issuance = self._settings.issuance_of(cert_id)
        if issuance is None:
            raise ParameterError(
                f"there is no cert_issuance for {cert_id!r}; name an issuer in the request"
            )
        request = x509.load_request(csr_pem)
        if issuance.method is Method.EST:
            return self._enrol(cert_id, csr_pem)
        if issuance.method is Method.SELF_SIGNED:
            return self._self_signed(cert_id, request, issuance)
        if self._local_ca is None or self._settings.local_ca is None:
            raise ParameterError(
                f"cert_issuance.{cert_id} wants local_ca, but cert_issuance.local_ca is not set"
            )
        issuer_id = self._settings.local_ca.cert_id
        return self._by_ca(cert_id, request, issuer_id, self._local_ca.handle(), issuance)

    def by_issuer(self, cert_id: str, csr_pem: bytes, issuer_id: str, key_handle: str) -> bytes:
        """Issue by a CA that the caller names, with a key the caller has a handle for."""
        default = Issuance(Method.LOCAL_CA, DEFAULT_EXPIRY_DAYS)
        issuance = self._settings.issuance_of(cert_id) or default
        return self._by_ca(cert_id, x509.load_request(csr_pem), issuer_id, key_handle, issuance)

    def _enrol(self, cert_id: str, csr_pem: bytes) -> bytes:
        if self._enroller is None:
            raise TypeError("EST is used, but no certificate is issued by it")
        return self._enroller.enrol(cert_id, csr_pem)

    def _self_signed(
        self, cert_id: str, request: CertificateSigningRequest, issuance: Issuance
    ) -> bytes:
        certificate = x509.issue(
            request,
            self._own_key(cert_id, request),
            now=self._clock.now(),
            lifetime=timedelta(days=issuance.expiry_days),
            subject=_subject(issuance),
        )
        return x509.to_pem([certificate])

    def _own_key(self, cert_id: str, request: CertificateSigningRequest) -> PrivateKey:
        """Return the key pair of the id; for a renewal that keeps its key, of the id in use."""
        for key_id in dict.fromkeys((cert_id, in_use_id(cert_id))):
            try:
                key = remote_key(self._keys, self._keys.load_key_pair(key_id))
            except ApiError as error:
                if error.status not in _REFUSED:
                    raise
                continue
            if key.public_key() == request.public_key():
                return key
        raise ParameterError(f"the request is not for the key pair {cert_id!r}")

    def _by_ca(
        self,
        cert_id: str,
        request: CertificateSigningRequest,
        issuer_id: str,
        handle: str,
        issuance: Issuance,
    ) -> bytes:
        chain = x509.load_chain(self._store.get(issuer_id))
        certificate = x509.issue(
            request,
            x509.Issuer(chain[0], remote_key(self._keys, handle)),
            now=self._clock.now(),
            lifetime=timedelta(days=issuance.expiry_days),
            subject=_subject(issuance),
            may_be_ca=self._settings.may_be_ca(cert_id),
        )
        return x509.to_pem([certificate, *chain])


def _subject(issuance: Issuance) -> Name | None:
    return x509.subject_name(issuance.subject) if issuance.subject else None
