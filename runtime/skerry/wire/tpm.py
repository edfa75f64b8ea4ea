"""Structures of TPM 2.0 as they travel: public areas of keys, names, what is sent to import a key.

Only what a device and a provisioning service exchange: RSA storage and endorsement keys, HMAC keys,
SHA-256 names. Every parser takes bytes from outside: it reads no further than told, accepts no
byte too many, and raises TpmDataError alone. Marshalling what was parsed gives the same bytes.

Source: TCG, Trusted Platform Module Library, part 2, sections 10-12; templates L-1 (endorsement)
and H-1 (storage) of the TCG's EK credential profile and provisioning guidance.
"""

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from skerry.base.errors import SkerryError

MAX_BYTES = 4096
"""No structure that is exchanged comes near to this."""

RSA_BITS = 2048
_SHA256 = 0x000B
_NULL = 0x0010
_HMAC = 0x0005
_AES = 0x0006
_CFB = 0x0043


class TpmDataError(SkerryError):
    """Bytes that are not the TPM structure they should be."""


class Kind(IntEnum):
    """TPM_ALG_ID of the kinds of keys that are exchanged."""

    RSA = 0x0001
    KEYEDHASH = 0x0008


class Attributes(IntFlag):
    """TPMA_OBJECT, the bits that matter here; others are kept as they are."""

    FIXED_TPM = 1 << 1
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    NO_DA = 1 << 10
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18


@dataclass(frozen=True)
class RsaParameters:
    """Parameters of a storage key: AES-CFB for what it protects; `exponent` 0 means 65537."""

    symmetric_bits: int = 128
    bits: int = RSA_BITS
    exponent: int = 0


@dataclass(frozen=True)
class HmacParameters:
    """Parameters of a keyed hash; `fixed` is whether the key itself says HMAC-SHA256."""

    fixed: bool = True


@dataclass(frozen=True)
class Public:
    """TPMT_PUBLIC; `unique` is the modulus of an RSA key or the hash of a secret one."""

    attributes: Attributes
    parameters: RsaParameters | HmacParameters
    unique: bytes
    policy: bytes = b""

    @property
    def kind(self) -> Kind:
        """Which kind of key this is."""
        return Kind.RSA if isinstance(self.parameters, RsaParameters) else Kind.KEYEDHASH

    def area(self) -> bytes:
        """Return the TPMT_PUBLIC."""
        head = struct.pack(">HHI", self.kind, _SHA256, self.attributes)
        return head + sized(self.policy) + _parameters(self.parameters) + sized(self.unique)

    def marshal(self) -> bytes:
        """Return the TPM2B_PUBLIC."""
        return sized(self.area())

    def name(self) -> bytes:
        """Return the name: the hash's id and the hash over the public area."""
        return struct.pack(">H", _SHA256) + hashlib.sha256(self.area()).digest()

    def made_by(self, template: "Public") -> bool:
        """Tell whether a key of this template looks like this one."""
        return (self.attributes, self.parameters, self.policy) == (
            template.attributes,
            template.parameters,
            template.policy,
        )


ENDORSEMENT_POLICY = bytes.fromhex(
    "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"
)
"""PolicySecret of the endorsement hierarchy."""

ENDORSEMENT_TEMPLATE = Public(
    Attributes.FIXED_TPM
    | Attributes.FIXED_PARENT
    | Attributes.SENSITIVE_DATA_ORIGIN
    | Attributes.ADMIN_WITH_POLICY
    | Attributes.RESTRICTED
    | Attributes.DECRYPT,
    RsaParameters(),
    bytes(RSA_BITS // 8),
    ENDORSEMENT_POLICY,
)
STORAGE_TEMPLATE = Public(
    Attributes.FIXED_TPM
    | Attributes.FIXED_PARENT
    | Attributes.SENSITIVE_DATA_ORIGIN
    | Attributes.USER_WITH_AUTH
    | Attributes.NO_DA
    | Attributes.RESTRICTED
    | Attributes.DECRYPT,
    RsaParameters(),
    bytes(RSA_BITS // 8),
)


@dataclass(frozen=True)
class ImportBlob:
    """What a provisioning service sends: a key that one TPM alone can unwrap.

    On the wire the five parts follow each other, each with its size in front. `credential` and
    `secret` are for TPM2_ActivateCredential, whose result is the inner wrapping key; `duplicate`,
    `seed` and `public` are for TPM2_Import under the storage root key. All without their sizes.
    """

    credential: bytes
    secret: bytes
    duplicate: bytes
    seed: bytes
    public: Public

    def marshal(self) -> bytes:
        """Return the blob."""
        parts = (self.credential, self.secret, self.duplicate, self.seed)
        return b"".join(map(sized, parts)) + self.public.marshal()


class Reader:
    """Takes a structure apart from the front."""

    def __init__(self, data: bytes, what: str) -> None:
        if len(data) > MAX_BYTES:
            raise TpmDataError(f"{what} has {len(data)} bytes, expected at most {MAX_BYTES}")
        self._left = data
        self._what = what

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        if size > len(self._left):
            raise TpmDataError(f"{self._what} ends early: {size} bytes expected")
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def number(self, size: int = 2) -> int:
        """Return a number of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def sized(self) -> bytes:
        """Return the content of a TPM2B."""
        return self.take(self.number())

    def expect(self, wanted: int, field: str) -> None:
        """Take a 16-bit number that has to be the one given."""
        found = self.number()
        if found != wanted:
            raise TpmDataError(f"{self._what}: {field} is {found:#06x}, expected {wanted:#06x}")

    def end(self) -> None:
        """Refuse anything left."""
        if self._left:
            raise TpmDataError(f"{self._what} has {len(self._left)} bytes too many")


def sized(data: bytes) -> bytes:
    """Return a TPM2B: the size in 16 bits, then the bytes."""
    return struct.pack(">H", len(data)) + data


def parse_public(data: bytes, what: str = "public area") -> Public:
    """Parse a TPM2B_PUBLIC; `what` is its name in messages. Raises: TpmDataError."""
    outer = Reader(data, what)
    area = outer.sized()
    outer.end()
    return _parse_area(area, what)


def parse_import_blob(data: bytes) -> ImportBlob:
    """Take apart what a provisioning service sent. Raises: TpmDataError."""
    reader = Reader(data, "authentication key")
    credential, secret, duplicate, seed = (reader.sized() for _ in range(4))
    public = _parse_area(reader.sized(), "public area of the authentication key")
    reader.end()
    if public.kind is not Kind.KEYEDHASH:
        raise TpmDataError("the authentication key is an RSA key, expected an HMAC key")
    return ImportBlob(credential, secret, duplicate, seed, public)


def _parse_area(area: bytes, what: str) -> Public:
    reader = Reader(area, what)
    kind = reader.number()
    if kind not in tuple(Kind):
        raise TpmDataError(f"{what}: kind of key is {kind:#06x}, expected RSA or a keyed hash")
    reader.expect(_SHA256, "hash of the name")
    attributes = Attributes(reader.number(4))
    policy = reader.sized()
    rsa = kind == Kind.RSA
    parameters = _parse_rsa(reader) if rsa else _parse_hmac(reader, what)
    public = Public(attributes, parameters, reader.sized(), policy)
    reader.end()
    return public


def _parse_rsa(reader: Reader) -> RsaParameters:
    reader.expect(_AES, "symmetric algorithm")
    symmetric_bits = reader.number()
    reader.expect(_CFB, "symmetric mode")
    reader.expect(_NULL, "signing scheme")
    return RsaParameters(symmetric_bits, reader.number(), reader.number(4))


def _parse_hmac(reader: Reader, what: str) -> HmacParameters:
    scheme = reader.number()
    if scheme == _NULL:
        return HmacParameters(fixed=False)
    if scheme != _HMAC:
        raise TpmDataError(f"{what}: scheme is {scheme:#06x}, expected HMAC")
    reader.expect(_SHA256, "hash of the HMAC")
    return HmacParameters()


def _parameters(value: RsaParameters | HmacParameters) -> bytes:
    if isinstance(value, RsaParameters):
        symmetric = struct.pack(">HHH", _AES, value.symmetric_bits, _CFB)
        return symmetric + struct.pack(">HHI", _NULL, value.bits, value.exponent)
    return struct.pack(">HH", _HMAC, _SHA256) if value.fixed else struct.pack(">H", _NULL)
