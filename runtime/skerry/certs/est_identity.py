"""The TLS identity that certd shows an EST server: brought along, or enrolled with a bootstrap one.

An enrolled identity is renewed by `simplereenroll`, under itself, when its policy says so. One that
has expired, because the device was off for long, is enrolled anew with the bootstrap identity.
"""

import threading
from collections.abc import Callable
from datetime import datetime

from skerry.base.client import ApiError
from skerry.base.clock import Clock
from skerry.certs import x509
from skerry.certs.errors import EstError
from skerry.certs.est import EstServer
from skerry.certs.est_settings import TlsIdentity
from skerry.certs.pair import Current, Pair
from skerry.certs.renewal import RenewalPolicy, life_of
from skerry.certs.store import CertStore
from skerry.keys.client import KeysClient

ALGORITHMS = "ec-p256:rsa-4096:*"
_NOT_FOUND = 400

Connect = Callable[[Current | None], EstServer]
"""Returns the EST server as it is reached with an identity, or none."""


class EstIdentity:
    """One identity; raises EstError, ApiError and UnreachableError."""

    def __init__(
        self,
        identity: TlsIdentity,
        bootstrap: TlsIdentity | None,
        policy: RenewalPolicy,
        store: CertStore,
        keys: KeysClient,
        clock: Clock,
        connect: Connect,
        changed: Callable[[], None],
    ) -> None:
        self._identity = identity
        self._bootstrap = bootstrap
        self._policy = policy
        self._store = store
        self._keys = keys
        self._clock = clock
        self._connect = connect
        self._changed = changed
        self._lock = threading.Lock()
        self._given = identity.cert_id != identity.key_id or store.is_preloaded(identity.cert_id)

    @property
    def name(self) -> str:
        return f"renew certificate {self._identity.cert_id}"

    def due(self, failed_at: datetime | None) -> datetime | None:
        """Return when to renew; None where there is none yet, or it was brought along."""
        pem = None if self._given else self._store.find(self._identity.cert_id)
        if pem is None:
            return None
        life = life_of(x509.load_chain(pem)[0])
        now = self._clock.now()
        if self._policy.is_due(life, now, failed_at):
            return now
        return self._policy.next_try(life, failed_at)

    def perform(self) -> None:
        """Renew it."""
        with self._lock:
            current = self._pair(None).current()
            if current is None or not current.holds(self._clock.now()):
                self._enrol()
                return
            leaf = current.chain[0]
            self._pair(self._connect(current), again=True).renew(
                lambda key: x509.renewal_request(leaf, key), rotate_key=self._policy.rotate_key
            )

    def present(self) -> Current:
        """Return the identity, enrolled now if there is none that holds."""
        with self._lock:
            if self._given:
                return _valid(self._read(self._identity), self._identity, self._clock.now())
            current = self._pair(None).current()
            if current is not None and current.holds(self._clock.now()):
                return current
            return self._enrol()

    def _enrol(self) -> Current:
        cert_id = self._identity.cert_id
        if self._bootstrap is None:
            raise EstError(
                f"the EST identity {cert_id!r} is not there or not valid now; bring a new one, or "
                "name a bootstrap identity to enrol it with"
            )
        bootstrap = _valid(self._read(self._bootstrap), self._bootstrap, self._clock.now())
        subject = bootstrap.chain[0].subject
        made = self._pair(self._connect(bootstrap)).renew(
            lambda key: x509.client_request(subject, [], key), rotate_key=self._policy.rotate_key
        )
        self._changed()
        return made

    def _read(self, identity: TlsIdentity) -> Current:
        pem = self._store.find(identity.cert_id)
        if pem is None:
            raise EstError(f"there is no certificate {identity.cert_id!r} to show the EST server")
        handle = self._keys.load_key_pair(identity.key_id)
        return Current(pem, tuple(x509.load_chain(pem)), handle)

    def _pair(self, server: EstServer | None, *, again: bool = False) -> Pair:
        chains = _Chains(self._store, server, self._clock, again)
        return Pair(self._identity.cert_id, self._keys, chains, ALGORITHMS)


class _Chains:
    """certd's own certificates, issued by one EST server, as `Pair` wants them."""

    def __init__(
        self, store: CertStore, server: EstServer | None, clock: Clock, again: bool
    ) -> None:
        self._store = store
        self._server = server
        self._clock = clock
        self._again = again

    def create(self, cert_id: str, csr_pem: bytes) -> bytes:
        if self._server is None:
            raise TypeError("certificates are only read here")
        pem = self._server.enrol(csr_pem, self._clock.now(), again=self._again)
        self._store.put(cert_id, pem)
        return pem

    def put(self, cert_id: str, pem: bytes) -> None:
        self._store.put(cert_id, pem)

    def get(self, cert_id: str) -> bytes:
        pem = self._store.find(cert_id)
        if pem is None:
            raise ApiError(_NOT_FOUND, f"there is no certificate {cert_id!r}")
        return pem

    def delete(self, cert_id: str) -> None:
        self._store.delete(cert_id)


def _valid(current: Current, identity: TlsIdentity, now: datetime) -> Current:
    if not current.holds(now):
        raise EstError(
            f"certificate {identity.cert_id!r}, shown to the EST server, is valid from "
            f"{current.life.start:%F} to {current.life.end:%F}, and today is {now:%F}; bring a "
            "new one, or set the clock"
        )
    return current
