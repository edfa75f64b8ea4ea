"""Keys that sign images: a file (Ed25519, or ECDSA P-256 or P-384), or a PKCS#11 token (ECDSA).

load_signer("release.key")                                a PEM or OpenSSH private key
load_signer("pkcs11:token=T;object=release?pin-source=file:/…", library)
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

from skerry.base.files import read_limited
from skerry.keys.pkcs11_uri import parse_uri
from skerry.keys.token import Token
from skerry_factory.errors import FactoryError

URI_SCHEME = "pkcs11:"
MAX_KEY_BYTES = 64 << 10
_ECDSA = ec.ECDSA(hashes.SHA256())
_WANTED = "expected Ed25519, or ECDSA on P-256 or P-384"

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True)
class Signer:
    """A private key that is at hand; `sign` returns a signature over some bytes."""

    public: PublicKey
    sign: Callable[[bytes], bytes]


def load_signer(name: str, library: str | None) -> Signer:
    """Return the signer of a key file or a PKCS#11 URI, whose library has to be named then."""
    if name.startswith(URI_SCHEME):
        if library is None:
            raise FactoryError("a key in a token needs --pkcs11-library FILE")
        return _token_signer(name, library)
    key = _private_key(Path(name))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return Signer(key.public_key(), key.sign)
    curve_key = key
    return Signer(curve_key.public_key(), lambda data: curve_key.sign(data, _ECDSA))


def load_public_key(file: Path) -> PublicKey:
    """Return the public key of a PEM or OpenSSH file."""
    data = _read(file)
    try:
        if data.startswith((b"ssh-", b"ecdsa-")):
            key: object = serialization.load_ssh_public_key(data)
        else:
            key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise FactoryError(f"{file} holds no public key; {_WANTED}, as PEM or OpenSSH") from None
    return _usable(key, str(file))


def is_signed_by(public: PublicKey, data: bytes, signature: bytes) -> bool:
    """Tell whether a signature over these bytes was made with the key."""
    try:
        if isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(signature, data)
        else:
            public.verify(signature, data, _ECDSA)
    except InvalidSignature:
        return False
    return True


def fingerprint(public: PublicKey) -> str:
    """Return the sha256 of a public key's DER form, to tell keys apart."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return sha256(public.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def _private_key(file: Path) -> ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey:
    data = _read(file)
    try:
        if b"OPENSSH PRIVATE KEY" in data:
            key: object = serialization.load_ssh_private_key(data, password=None)
        else:
            key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise FactoryError(
            f"{file} is encrypted; use a key without passphrase, or a token"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise FactoryError(f"{file} holds no private key; {_WANTED}, as PEM or OpenSSH") from None
    if isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        _usable(key.public_key(), str(file))
        return key
    raise FactoryError(f"{file} holds another kind of key; {_WANTED}")


def _usable(key: object, where: str) -> PublicKey:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in ("secp256r1", "secp384r1"):
        return key
    raise FactoryError(f"{where} holds another kind of key; {_WANTED}")


def _token_signer(name: str, library: str) -> Signer:
    uri = parse_uri(name)
    token = Token(library, uri)
    object_id = token.find_id(uri, "PRIVATE_KEY")
    if object_id is None:
        raise FactoryError(f"{uri.describe()} names no private key; look at its object and id")
    found = token.public(object_id)
    if not isinstance(found, ec.EllipticCurvePublicKey):
        raise FactoryError(f"{uri.describe()} is not an ECDSA key; expected P-256 or P-384")
    public = _usable(found, uri.describe())

    def sign(data: bytes) -> bytes:
        raw = token.sign(object_id, "PRIVATE_KEY", "ECDSA", sha256(data).digest())
        half = len(raw) // 2
        first, second = (int.from_bytes(part, "big") for part in (raw[:half], raw[half:]))
        return utils.encode_dss_signature(first, second)

    return Signer(public, sign)


def _read(file: Path) -> bytes:
    try:
        return read_limited(file, MAX_KEY_BYTES)
    except OSError as error:
        raise FactoryError(f"{file} cannot be read: {error.strerror}; expected a key") from error
