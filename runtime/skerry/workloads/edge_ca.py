"""The edge CA over the life of a device: made, kept, renewed under running modules.

A renewal stops no module and drops no connection. Modules get certificates under the new CA when
they next ask; what they have from the old one stays good, for the trust bundle keeps the old CA
until it expires, and nothing under it lives longer. Modules that read the bundle before, and never
again, are met as well: the old key signs the new CA once (RFC 4210 §4.4, "new with old"), and
chains carry that link until the old CA expires.

    <state>/cache/edge_ca_former.json    {"former": PEM, "links": PEM}, 0600

Invariants
- The file is written before the new CA is put in place. Entries for a renewal that did not happen
  are passed over: a former CA that is the present one, a link to a key that is not in use.
- The CA's key pair is in keyd and never leaves it.
"""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.x509 import (
    AuthorityKeyIdentifier,
    Certificate,
    Name,
    SubjectKeyIdentifier,
)

from skerry.base.client import ApiError
from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.files import write_atomic
from skerry.base.log import Logger
from skerry.certs import x509
from skerry.certs.client import CertsClient
from skerry.certs.pair import Current, Pair, Staged
from skerry.certs.remote_key import remote_key
from skerry.certs.renewal import Life
from skerry.certs.x509 import PrivateKey, load_chain
from skerry.keys.client import KeysClient
from skerry.workloads.device import Device
from skerry.workloads.errors import WorkloadsError
from skerry.workloads.settings import EDGE_CA, EdgeCaSettings

_ALGORITHMS = "ec-p256:rsa-2048:*"


@dataclass(frozen=True)
class _Former:
    """CAs that were in use before, and certificates of later ones signed by earlier ones."""

    cas: tuple[Certificate, ...] = ()
    links: tuple[Certificate, ...] = ()


class EdgeCa:
    """The CA of this device's modules; raises ApiError, UnreachableError and WorkloadsError."""

    def __init__(
        self,
        certs: CertsClient,
        keys: KeysClient,
        device: Device,
        settings: EdgeCaSettings,
        cache: Path,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._certs = certs
        self._keys = keys
        self._device = device
        self._settings = settings
        self._file = cache / "edge_ca_former.json"
        self._clock = clock
        self._log = log
        self._pair = Pair(EDGE_CA, keys, certs, _ALGORITHMS)
        self._tending = threading.Lock()
        self._swapping = threading.Lock()
        self._life: Life | None = None
        self._failed_at: datetime | None = None

    def ensure(self) -> None:
        """See to it that there is a CA in force; renew it when it is due.

        A renewal that fails is tried again when the policy says so, as long as the CA holds.
        """
        with self._tending:
            self._ensure()

    def _ensure(self) -> None:
        with self._swapping:
            current = self._pair.current()
        if not self._settings.issued:
            if current is None:
                raise WorkloadsError(
                    f"certificate {EDGE_CA!r} is not there or not for its key; "
                    "check [edge_ca] cert and pk in config.toml"
                )
            return
        now = self._clock.now()
        if current is not None:
            self._life = current.life
            if not self._settings.auto_renew.is_due(current.life, now, self._failed_at):
                return
        try:
            made = self._pair.issue(self._request) if current is None else self._renew(current)
        except SkerryError as error:
            if current is None or not current.holds(now):
                raise
            self._failed_at = now
            again = self._settings.auto_renew.next_try(current.life, now)
            self._log.error("edge CA not renewed", reason=error, again=again.isoformat())
            return
        self._life, self._failed_at = made.life, None
        self._log.info("edge CA issued", until=made.life.end.isoformat())

    def is_due(self) -> bool:
        """Tell whether `ensure` has something to do, without asking anybody."""
        if self._life is None or not self._settings.issued:
            return False
        return self._settings.auto_renew.is_due(self._life, self._clock.now(), self._failed_at)

    def issue(self, cert_id: str, csr: bytes) -> list[Certificate]:
        """Return the chain of a certificate issued by the CA, leaf first."""
        if self._life is not None and not self._life.holds(self._clock.now()):
            # the clock was set: a module that asks now need not wait for the next look
            self.ensure()
        with self._swapping:
            handle = self._keys.load_key_pair(EDGE_CA)
            chain = load_chain(self._certs.create(cert_id, csr, EDGE_CA, handle))
        links = _path(chain[1], self._former().links) if len(chain) == 2 else []
        return [chain[0], *(links or chain[1:])]

    def trusted_beside(self, bundle: bytes) -> bytes:
        """Return a trust bundle with the former CAs that something may still be issued under."""
        known = load_chain(bundle)
        former = [ca for ca in self._former().cas if ca not in known]
        separator = b"" if bundle.endswith(b"\n") else b"\n"
        return bundle + separator + x509.to_pem(former) if former else bundle

    def _renew(self, current: Current) -> Current:
        staged = self._pair.stage(self._request, rotate_key=self._settings.auto_renew.rotate_key)
        self._remember(current, staged)
        with self._swapping:
            return self._pair.commit(staged)

    def _request(self, key: PrivateKey) -> bytes:
        return x509.ca_request(self._subject(), key)

    def _subject(self) -> Name:
        if self._settings.subject:
            return x509.subject_name(self._settings.subject)
        return x509.common_name(f"aziot-edge CA {self._device.identity().device_id}")

    def _remember(self, current: Current, staged: Staged) -> None:
        before, new = current.chain[0], staged.current.chain[0]
        if before.public_key() == new.public_key() or not current.holds(self._clock.now()):
            return
        former = self._former()
        link = self._link(current, staged)
        data = {
            "former": x509.to_pem([*former.cas, before]).decode(),
            "links": x509.to_pem([*link, *former.links]).decode(),
        }
        self._file.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(self._file, json.dumps(data).encode(), mode=0o600)

    def _link(self, current: Current, staged: Staged) -> list[Certificate]:
        """Return the new CA as the old one signs it; none where both have the same root."""
        before, new = current.chain[0], staged.current.chain[0]
        if before.issuer != before.subject or new.subject != before.subject:
            return []
        csr = x509.ca_request(new.subject, remote_key(self._keys, staged.current.handle))
        try:
            pem = self._certs.create(f"{EDGE_CA}-temp", csr, EDGE_CA, current.handle)
        except ApiError as error:
            self._log.warning("modules have to read the trust bundle anew", reason=error)
            return []
        return load_chain(pem)[:1]

    def _former(self) -> _Former:
        try:
            data = json.loads(self._file.read_bytes())
            cas, links = (self._held(data[name]) for name in ("former", "links"))
        except FileNotFoundError:
            return _Former()
        except (OSError, ValueError, KeyError, TypeError, SkerryError) as error:
            self._log.warning("former edge CAs cannot be read", path=self._file, reason=error)
            return _Former()
        return _Former(cas, links)

    def _held(self, pem: str) -> tuple[Certificate, ...]:
        now = self._clock.now()
        found = load_chain(pem.encode()) if pem else []
        return tuple(one for one in found if now < one.not_valid_after_utc)


def _path(ca: Certificate, links: Sequence[Certificate]) -> list[Certificate]:
    """Return the links from a CA back to the earliest one that holds."""
    found = [link for link in links if link.public_key() == ca.public_key()][:1]
    while found:
        above = [link for link in links if link not in found and _key_id(link) == _above(found[-1])]
        if not above:
            break
        found.append(above[0])
    return found


def _key_id(certificate: Certificate) -> bytes:
    return certificate.extensions.get_extension_for_class(SubjectKeyIdentifier).value.digest


def _above(certificate: Certificate) -> bytes | None:
    found = certificate.extensions.get_extension_for_class(AuthorityKeyIdentifier)
    return found.value.key_identifier
