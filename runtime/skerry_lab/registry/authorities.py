"""Authorities whose devices the hub lets in, and the proof that one owns their key.

An authority counts when it is verified. Who brings one without saying so gets a verification code
and shows a certificate that the authority has signed for that name; each code serves once, a new
one replaces it. As IoT Hub's certificates, with etags.
"""

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from skerry.base.clock import Clock
from skerry.heads.certificates import (
    CertificateError,
    check_time,
    find_anchor,
    read_chain,
    read_pem,
    thumbprints,
)
from skerry.wire.identity import Identity
from skerry_lab.outbox import Kind, Notice, Outbox
from skerry_lab.registry.errors import HubError, bad_argument, changed_meanwhile
from skerry_lab.registry.store import AuthorityRow, RegistryStore

MAX_AUTHORITIES = 100
ANY = "*"

_CODE_BYTES = 24


@dataclass(frozen=True)
class Authority:
    """An authority; `code` is what a proof has to be made for, empty for none."""

    name: str
    pem: str
    verified: bool
    etag: str
    code: str
    created: datetime
    updated: datetime

    def properties(self) -> dict[str, object]:
        """Return what can be told of it, without the code."""
        certificate = read_pem(self.pem)
        return {
            "subject": certificate.subject.rfc4514_string(),
            "expiry": certificate.not_valid_after_utc.isoformat(),
            "thumbprint": thumbprints(certificate)[1],
            "isVerified": self.verified,
            "created": self.created.isoformat(),
            "updated": self.updated.isoformat(),
            "certificate": base64.b64encode(self.pem.encode()).decode(),
        }

    def to_json(self, *, with_code: bool = False) -> dict[str, object]:
        code = {"verificationCode": self.code} if with_code else {}
        return {"name": self.name, "etag": self.etag, "properties": {**self.properties(), **code}}


class Authorities:
    """To be called on the database's thread."""

    def __init__(
        self,
        store: RegistryStore,
        outbox: Outbox,
        clock: Clock,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._random_bytes = random_bytes

    def all(self) -> list[Authority]:
        """Return all authorities by name."""
        return [_authority(row) for row in self._store.authorities()]

    def get(self, name: str) -> Authority:
        """Return one. Raises: HubError 404."""
        row = self._store.authority(name)
        if row is None:
            raise HubError(404, "CertificateNotFound", f"no certificate {name!r}")
        return _authority(row)

    def verified(self, name: str) -> str | None:
        """Return the PEM of an authority that counts."""
        row = self._store.authority(name)
        return row.pem if row is not None and row.verified else None

    def put(self, name: str, pem: str, *, verified: bool, if_match: str | None = None) -> Authority:
        """Bring an authority, or replace one of that name.

        Raises: HubError 400, 403 (too many), 412; CertificateError.
        """
        former = self._store.authority(name)
        self._check(former, if_match)
        _check_authority(read_pem(pem))
        if former is None and len(self._store.authorities()) >= MAX_AUTHORITIES:
            raise HubError(
                403, "TooManyCertificates", f"there are {MAX_AUTHORITIES} certificates already"
            )
        now = self._clock.now()
        created = now if former is None else datetime.fromisoformat(former.created)
        return self._store_one(Authority(name, pem, verified, self._etag(), "", created, now))

    def delete(self, name: str, if_match: str = ANY) -> None:
        """Trust one no longer. Raises: HubError 404, 412."""
        self.get(name)
        self._check(self._store.authority(name), if_match)
        self._store.delete_authority(name)
        self._tell()

    def new_code(self, name: str, if_match: str = ANY) -> Authority:
        """Return an authority with the code for a proof. Raises: HubError 400, 404, 412."""
        one = self.get(name)
        self._check(self._store.authority(name), if_match)
        if one.verified:
            raise bad_argument(f"certificate {name!r} is verified already")
        code = self._random_bytes(_CODE_BYTES).hex().upper()
        return self._store_one(replace(one, code=code, etag=self._etag()))

    def verify(self, name: str, proof_pem: str, if_match: str = ANY) -> Authority:
        """Check a proof and trust the authority. Raises: HubError 400, 404, 412."""
        one = self.get(name)
        self._check(self._store.authority(name), if_match)
        if not one.code:
            raise bad_argument(f"certificate {name!r} has no verification code, generate one first")
        now = self._clock.now()
        try:
            (proof,) = read_chain([read_pem(proof_pem).public_bytes(Encoding.DER)])
            check_time(proof, now)
            check_time(read_pem(one.pem), now)
        except CertificateError as error:
            raise bad_argument(f"the proof does not count: {error}") from error
        if _common_name(proof) != one.code:
            raise bad_argument(
                f"the proof is for {_common_name(proof)!r}, expected the verification code as its "
                "common name"
            )
        if find_anchor([proof], [read_pem(one.pem)], now) is None:
            raise bad_argument(f"the proof is not signed by certificate {name!r}")
        return self._store_one(replace(one, verified=True, code="", etag=self._etag()))

    def _store_one(self, one: Authority) -> Authority:
        stored = replace(one, updated=self._clock.now())
        self._store.put_authority(
            AuthorityRow(
                stored.name, stored.pem, stored.verified, stored.etag, stored.code,
                stored.created.isoformat(), stored.updated.isoformat(),
            )
        )  # fmt: skip
        self._tell()
        return stored

    def _tell(self) -> None:
        """Have devices looked at that an authority let in."""
        for device_id in self._store.devices_by_authority():
            self._outbox.put(Notice(Kind.IDENTITY, Identity(device_id)))

    def _check(self, former: AuthorityRow | None, if_match: str | None) -> None:
        if if_match not in (None, ANY):
            found = "" if former is None else former.etag
            if if_match != found:
                raise changed_meanwhile(str(if_match), found)

    def _etag(self) -> str:
        return base64.b64encode(self._random_bytes(9)).decode()


def _authority(row: AuthorityRow) -> Authority:
    return Authority(
        row.name,
        row.pem,
        row.verified,
        row.etag,
        row.code,
        datetime.fromisoformat(row.created),
        datetime.fromisoformat(row.updated),
    )


def _check_authority(certificate: x509.Certificate) -> None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        found = False
    if not found:
        raise bad_argument("the certificate is not an authority's, expected basicConstraints CA")


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
