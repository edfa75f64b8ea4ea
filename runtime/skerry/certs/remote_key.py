"""Private keys whose bytes stay in keyd, as objects that the X.509 builders can sign with.

The builders accept any subclass of the two abstract key classes and call `public_key` and `sign`
alone; everything that would need the private bytes raises.
"""

import base64
from typing import NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from skerry.certs.errors import ParameterError
from skerry.certs.x509 import PrivateKey
from skerry.keys.client import KeysClient
from skerry.keys.crypto import CURVES, digest_info


def remote_key(keys: KeysClient, handle: str) -> PrivateKey:
    """Return the key pair behind a handle of keyd."""
    if keys.parameter(handle, "algorithm") == "RSA":
        return _RemoteRsaKey(keys, handle)
    return _RemoteEcKey(keys, handle)


class _Remote:
    def __init__(self, keys: KeysClient, handle: str) -> None:
        self._keys = keys
        self._handle = handle

    def _octets(self, name: str) -> bytes:
        return base64.b64decode(self._keys.parameter(self._handle, name))

    def _stays_in_keyd(self) -> NoReturn:
        raise ParameterError("the private bytes of this key stay in keyd")


class _RemoteEcKey(_Remote, ec.EllipticCurvePrivateKey):
    def public_key(self) -> ec.EllipticCurvePublicKey:
        return ec.EllipticCurvePublicKey.from_encoded_point(self.curve, self._octets("ec-point"))

    @property
    def curve(self) -> ec.EllipticCurve:
        return CURVES[self._octets("ec-curve-oid")]()

    @property
    def key_size(self) -> int:
        return self.curve.key_size

    def sign(self, data: object, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        return self._keys.sign_ecdsa(self._handle, _digest(data, signature_algorithm.algorithm))

    def exchange(self, *_arguments: object) -> bytes:
        self._stays_in_keyd()

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        self._stays_in_keyd()

    def private_bytes(self, *_arguments: object) -> bytes:
        self._stays_in_keyd()

    def __copy__(self) -> "_RemoteEcKey":
        return self

    def __deepcopy__(self, _memo: dict[int, object]) -> "_RemoteEcKey":
        return self


class _RemoteRsaKey(_Remote, rsa.RSAPrivateKey):
    def public_key(self) -> rsa.RSAPublicKey:
        modulus = int.from_bytes(self._octets("rsa-modulus"), "big")
        exponent = int.from_bytes(self._octets("rsa-exponent"), "big")
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()

    @property
    def key_size(self) -> int:
        return self.public_key().key_size

    def sign(self, data: object, _padding: object, algorithm: object) -> bytes:
        return self._keys.sign_rsa(self._handle, digest_info(_digest(data, algorithm)))

    def decrypt(self, *_arguments: object) -> bytes:
        self._stays_in_keyd()

    def private_numbers(self) -> rsa.RSAPrivateNumbers:
        self._stays_in_keyd()

    def private_bytes(self, *_arguments: object) -> bytes:
        self._stays_in_keyd()

    def __copy__(self) -> "_RemoteRsaKey":
        return self

    def __deepcopy__(self, _memo: dict[int, object]) -> "_RemoteRsaKey":
        return self


def _digest(data: object, algorithm: object) -> bytes:
    if not isinstance(data, bytes) or not isinstance(algorithm, hashes.HashAlgorithm):
        kind = type(algorithm).__name__ if not isinstance(algorithm, Prehashed) else "Prehashed"
        raise ParameterError(f"keyd signs bytes under a hash algorithm, not {kind}")
    context = hashes.Hash(algorithm)
    context.update(data)
    return context.finalize()
