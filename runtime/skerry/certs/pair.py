"""A key pair in keyd and the certificate for it in certd, under one id, renewed as one.

The two lie with two services, so no single write replaces both. A renewal is made ready under a
temporary id, where nobody looks; then the certificate is put in place, then the key:

    id        cert old   cert new   cert new
              key  old   key  old   key  new
    id-temp   key  new   key  new   -
                     (a)        (b)

Invariants
- Until (a) the old pair is whole. Between (a) and (b) the new pair is whole, its key still under
  the temporary id; whoever asks for the pair (`current`) finishes the move first. So a kill at any
  moment leaves the old pair or the new one, never a mixture.
- A key made for a renewal that came to nothing is used by the next try: an enrolment that a server
  put off (RFC 7030 §4.2.3) is asked for again with the same key.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cryptography.x509 import Certificate

from skerry.base.client import ApiError
from skerry.certs.remote_key import remote_key
from skerry.certs.renewal import Life, life_of
from skerry.certs.x509 import PrivateKey, load_chain
from skerry.keys.client import KeysClient

_NOT_FOUND = 400

MakeRequest = Callable[[PrivateKey], bytes]
"""Writes the PKCS#10 request (PEM) for a key."""


class Chains(Protocol):
    """Where certificates are kept and issued: certd, by its client or from within."""

    def create(self, cert_id: str, csr_pem: bytes) -> bytes:
        """Have a certificate issued and stored; returns the PEM chain."""

    def put(self, cert_id: str, pem: bytes) -> None:
        """Store a PEM chain."""

    def get(self, cert_id: str) -> bytes:
        """Return a PEM chain; ApiError 400 when there is none."""

    def delete(self, cert_id: str) -> None:
        """Remove a chain, if it is there."""


@dataclass(frozen=True)
class Current:
    """A certificate (`chain`, leaf first, also as `pem`) and the handle of its key."""

    pem: bytes
    chain: tuple[Certificate, ...]
    handle: str

    @property
    def life(self) -> Life:
        return life_of(self.chain[0])

    def holds(self, now: datetime) -> bool:
        """Tell whether the certificate is valid now."""
        return self.life.holds(now)


@dataclass(frozen=True)
class Staged:
    """A renewal that is ready: its key lies under `key_id`, nothing is in place yet."""

    key_id: str
    current: Current


class Pair:
    """One key pair and certificate; raises ApiError and UnreachableError.

    Not for several threads at once: who renews and who uses a pair share a lock.
    """

    def __init__(
        self, pair_id: str, keys: KeysClient, certs: Chains, algorithms: str = "ec-p256:rsa-2048:*"
    ) -> None:
        self._id = pair_id
        self._temporary = f"{pair_id}-temp"
        self._keys = keys
        self._certs = certs
        self._algorithms = algorithms

    def current(self) -> Current | None:
        """Return the pair; None when there is none, or what there is does not belong together."""
        pem = self._pem(self._id)
        if pem is None:
            return None
        chain = tuple(load_chain(pem))
        handle = self._key(self._id)
        if handle is not None and self._belongs(chain[0], handle):
            return Current(pem, chain, handle)
        renewed = self._key(self._temporary)
        if renewed is None or not self._belongs(chain[0], renewed):
            return None
        self._move()
        return Current(pem, chain, self._keys.load_key_pair(self._id))

    def issue(self, request: MakeRequest) -> Current:
        """Make the certificate for the key under the id, which is made if there is none."""
        handle = self._keys.create_key_pair(self._id, self._algorithms)
        pem = self._certs.create(self._id, request(remote_key(self._keys, handle)))
        return Current(pem, tuple(load_chain(pem)), handle)

    def stage(self, request: MakeRequest, *, rotate_key: bool) -> Staged:
        """Make a renewal ready, for a new key or the present one."""
        key_id = self._temporary if rotate_key else self._id
        handle = self._keys.create_key_pair(key_id, self._algorithms)
        pem = self._certs.create(self._temporary, request(remote_key(self._keys, handle)))
        return Staged(key_id, Current(pem, tuple(load_chain(pem)), handle))

    def commit(self, staged: Staged) -> Current:
        """Put a renewal in place."""
        self._certs.put(self._id, staged.current.pem)
        if staged.key_id != self._id:
            self._move()
        self._certs.delete(self._temporary)
        handle = self._keys.load_key_pair(self._id)
        return Current(staged.current.pem, staged.current.chain, handle)

    def renew(self, request: MakeRequest, *, rotate_key: bool) -> Current:
        """Stage and commit."""
        return self.commit(self.stage(request, rotate_key=rotate_key))

    def _move(self) -> None:
        self._keys.move_key_pair(self._temporary, self._id)

    def _belongs(self, leaf: Certificate, handle: str) -> bool:
        return bool(leaf.public_key() == remote_key(self._keys, handle).public_key())

    def _pem(self, cert_id: str) -> bytes | None:
        try:
            return self._certs.get(cert_id)
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            return None

    def _key(self, key_id: str) -> str | None:
        try:
            return self._keys.load_key_pair(key_id)
        except ApiError as error:
            if error.status not in (_NOT_FOUND, 401):
                raise
            return None
