"""Which EST server a certificate comes from, and with which login.

The address is the certificate's own, else `cert_issuance.est.urls.<id>`, else its `default`; the
login is the certificate's own, else that of `cert_issuance.est`. Named trusted certificates are
then the only ones trusted; without them the system's are (RFC 7030 §3.6).

Invariant: a server that put a request off is not asked again for it before its time.
"""

import ssl
import threading
from collections.abc import Callable
from datetime import datetime

from skerry.base.clock import Clock
from skerry.base.https import HttpsClient, HttpsError, Proxy, trust_context
from skerry.base.upkeep import Job
from skerry.certs import pkcs7
from skerry.certs.errors import EstError, EstPendingError, ParameterError
from skerry.certs.est import EstServer
from skerry.certs.est_identity import EstIdentity
from skerry.certs.est_settings import EstLogin
from skerry.certs.model import Issuance, Method, Settings, in_use_id
from skerry.certs.pair import Current
from skerry.certs.renewal import RenewalPolicy
from skerry.certs.store import CertStore
from skerry.keys.client import KeydSigner, KeysClient

_TIMEOUT_SECONDS = 15.0


class Enrolment:
    """Obtains certificates by EST; `changed` is called when an identity to be renewed is there."""

    def __init__(
        self,
        settings: Settings,
        store: CertStore,
        keys: KeysClient,
        clock: Clock,
        proxy: Proxy | None,
        changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._keys = keys
        self._clock = clock
        self._proxy = proxy
        self._put_off: dict[str, EstPendingError] = {}
        self._not_before: dict[str, datetime] = {}
        self._lock = threading.Lock()
        self._identities: dict[str, EstIdentity] = {}
        for cert_id, issuance in settings.issuance.items():
            login, url = self._login(issuance), self._url(cert_id, issuance)
            if issuance.method is Method.EST and url is not None:
                self._add_identity(url, login, changed)

    def jobs(self) -> list[Job]:
        """Return the identities, which renew themselves."""
        return list(self._identities.values())

    def enrol(self, cert_id: str, csr_pem: bytes) -> bytes:
        """Return the PEM chain, leaf first; raises EstError."""
        issuance = self._settings.issuance_of(cert_id)
        url = None if issuance is None else self._url(cert_id, issuance)
        if issuance is None or url is None:
            raise ParameterError(
                f"cert_issuance.{cert_id} wants est, but has no url, and cert_issuance.est.urls "
                "has none for it and no default"
            )
        self._refuse_early(cert_id)
        login = self._login(issuance)
        shown = None
        if login.identity is not None:
            shown = self._identities[login.identity.cert_id].present()
        try:
            return self._server(url, login, shown).enrol(csr_pem, self._clock.now())
        except EstPendingError as error:
            with self._lock:
                self._put_off[cert_id] = error
                self._not_before[cert_id] = self._clock.now() + error.wait
            raise

    def _refuse_early(self, cert_id: str) -> None:
        with self._lock:
            error = self._put_off.get(cert_id)
            if error is None:
                return
            left = self._not_before[cert_id] - self._clock.now()
            if left.total_seconds() > 0 and left <= error.wait:
                raise error
            del self._put_off[cert_id]

    def _add_identity(self, url: str, login: EstLogin, changed: Callable[[], None]) -> None:
        identity = login.identity
        if identity is None or identity.cert_id in self._identities:
            return
        shared = login is self._settings.est.login
        self._identities[identity.cert_id] = EstIdentity(
            identity,
            login.bootstrap,
            self._settings.est.identity_auto_renew if shared else RenewalPolicy(),
            self._store,
            self._keys,
            self._clock,
            lambda shown: self._server(url, login, shown),
            changed,
        )

    def _login(self, issuance: Issuance) -> EstLogin:
        return issuance.login or self._settings.est.login

    def _url(self, cert_id: str, issuance: Issuance) -> str | None:
        urls = self._settings.est.urls
        return (
            issuance.url or urls.get(cert_id) or urls.get(in_use_id(cert_id)) or urls.get("default")
        )

    def _server(self, url: str, login: EstLogin, shown: Current | None) -> EstServer:
        context = self._context(shown)
        https = HttpsClient(
            context,
            proxy=self._proxy,
            timeout_seconds=_TIMEOUT_SECONDS,
            max_body_bytes=pkcs7.MAX_BYTES,
        )
        return EstServer(url, login, https)

    def _context(self, shown: Current | None) -> ssl.SSLContext:
        trusted = [self._trusted(cert_id) for cert_id in self._settings.est.trusted]
        try:
            context = trust_context(trusted, system_roots=not trusted)
            if shown is not None:
                # TLS with a key in keyd needs ctypes: not loaded where nobody wants it
                from skerry.keys.tls import use_key

                use_key(context, shown.pem.decode(), KeydSigner(self._keys, shown.handle))
        except (HttpsError, ssl.SSLError) as error:
            raise EstError(f"EST: {error}") from error
        return context

    def _trusted(self, cert_id: str) -> str:
        pem = self._store.find(cert_id)
        if pem is None:
            raise EstError(
                f"there is no certificate {cert_id!r}, which cert_issuance.est.trusted_certs names"
            )
        return pem.decode()
