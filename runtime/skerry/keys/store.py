"""Keys in files.

    <state>/keys/<letters and digits of the id>-<sha256 of the id>.key   0600

A symmetric key is its raw bytes, a key pair is PKCS#8 in PEM. Preloaded keys lie where the settings
say and are never written. Every write is atomic; a move is one rename: after a crash a key is there
under its old id or under its new one.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from skerry.base.files import (
    FileTooLargeError,
    fsync_folder,
    id_file_name,
    read_limited,
    remove,
    state_folder,
    write_atomic,
)
from skerry.keys.crypto import CURVES, KeyPair
from skerry.keys.errors import KeyFileError, ParameterError
from skerry.keys.model import PairAlgorithm

SYMMETRIC_BYTES = 32
_MAX_SYMMETRIC_BYTES = 4096
_MAX_PAIR_BYTES = 64 * 1024
_PUBLIC_EXPONENT = 65537
_RSA_BITS = {PairAlgorithm.RSA_2048: 2048, PairAlgorithm.RSA_4096: 4096}


class KeyStore:
    """The keys of one keyd."""

    def __init__(self, state_dir: Path, preloaded: Mapping[str, Path]) -> None:
        self._folder = state_folder(state_dir / "keys")
        self._preloaded = preloaded

    def has(self, key_id: str) -> bool:
        """Tell whether something is stored under an id."""
        return self._path(key_id).exists()

    def symmetric(self, key_id: str) -> bytes:
        """Return the bytes of a symmetric key; raises ParameterError when there is none."""
        data = self._read(key_id, _MAX_SYMMETRIC_BYTES)
        if not data:
            raise KeyFileError(f"key file {self._path(key_id)} is empty; remove it or restore it")
        return data

    def pair(self, key_id: str) -> KeyPair:
        """Return a key pair; raises ParameterError when there is none."""
        data = self._read(key_id, _MAX_PAIR_BYTES)
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFileError(
                f"key file {self._path(key_id)} does not hold a private key in PEM without a "
                "password; restore it or remove it"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise KeyFileError(f"key file {self._path(key_id)} is neither an EC nor an RSA key")
        if isinstance(key, ec.EllipticCurvePrivateKey) and type(key.curve) not in CURVES.values():
            raise KeyFileError(
                f"key file {self._path(key_id)} is on curve {key.curve.name}, expected P-256, "
                "P-384 or P-521"
            )
        return key

    def put_symmetric(self, key_id: str, data: bytes) -> None:
        """Store a symmetric key, replacing one of the same id."""
        if not data or len(data) > _MAX_SYMMETRIC_BYTES:
            raise ParameterError(
                f"the key has {len(data)} bytes, expected 1 to {_MAX_SYMMETRIC_BYTES}"
            )
        write_atomic(self._own_path(key_id), data, mode=0o600)

    def create_pair(self, key_id: str, algorithm: PairAlgorithm) -> None:
        """Generate and store a key pair."""
        data = _generate(algorithm).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_atomic(self._own_path(key_id), data, mode=0o600)

    def move(self, source: str, target: str) -> None:
        """Give a key another id, replacing what was there."""
        if not self.has(source):
            raise ParameterError(f"there is no key {source!r}")
        os.replace(self._own_path(source), self._own_path(target))  # noqa: PTH105 - one system call
        fsync_folder(self._folder)

    def delete(self, key_id: str) -> None:
        """Remove a key; removing one that is gone already is no error."""
        remove(self._own_path(key_id))

    def _read(self, key_id: str, max_bytes: int) -> bytes:
        path = self._path(key_id)
        try:
            return read_limited(path, max_bytes)
        except FileNotFoundError as error:
            where = f": no file {path}" if key_id in self._preloaded else ""
            raise ParameterError(f"there is no key {key_id!r}{where}") from error
        except (OSError, FileTooLargeError) as error:
            raise KeyFileError(f"key file {path} cannot be read: {error}") from error

    def _path(self, key_id: str) -> Path:
        return self._preloaded.get(key_id) or self._folder / id_file_name(key_id, ".key")

    def _own_path(self, key_id: str) -> Path:
        if key_id in self._preloaded:
            raise ParameterError(
                f"key {key_id!r} is preloaded from {self._preloaded[key_id]} and not changed here"
            )
        return self._folder / id_file_name(key_id, ".key")


def _generate(algorithm: PairAlgorithm) -> KeyPair:
    if algorithm is PairAlgorithm.EC_P256:
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(_PUBLIC_EXPONENT, _RSA_BITS[algorithm])
