"""TLS with a private key that stays in keyd.

`ssl` takes private keys from files only, and its key type has no place for a call. OpenSSL has: the
methods of an EC or RSA key can be exchanged (EC_KEY_METHOD, RSA_METHOD), which is how hardware
tokens have always been used and how upstream's engine did it. This module does it with ctypes on
the very library that `_ssl` has loaded.

Invariants
- Only libraries and interpreters of the known layout are touched; any other is refused by name.
- The methods and their callbacks are made once and live as long as the process; a key's signer
  lives as long as the `SSLContext` it was given to.
- A private operation that fails ends the handshake with `TlsKeyError`, which carries its reason.
"""

import _ssl
import ctypes
import ssl
import sys
import threading
import weakref
from collections.abc import Callable
from ctypes import (
    POINTER,
    c_char_p,
    c_int,
    c_long,
    c_size_t,
    c_ubyte,
    c_uint,
    c_ulong,
    c_void_p,
)
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from skerry.keys.blocks import pad_digest_info
from skerry.keys.errors import KeysError

_OPENSSL_MAJOR = 3
_FIRST_PYTHON, _LAST_PYTHON = (3, 11), (3, 14)
_EVP_PKEY_RSA, _EVP_PKEY_EC = 6, 408
_CURVE_NIDS = {"secp256r1": 415, "secp384r1": 715, "secp521r1": 716}
_SSL_CTRL_CHAIN_CERT = 89
_RSA_PKCS1_PADDING, _RSA_NO_PADDING = 1, 3
_RSA_FLAG_EXT_PKEY = 0x20

_EcSign = ctypes.CFUNCTYPE(
    c_int, c_int, POINTER(c_ubyte), c_int, POINTER(c_ubyte), POINTER(c_uint), c_void_p, c_void_p,
    c_void_p,
)  # fmt: skip
_RsaPrivate = ctypes.CFUNCTYPE(c_int, c_int, POINTER(c_ubyte), POINTER(c_ubyte), c_void_p, c_int)


class TlsKeyError(KeysError, ssl.SSLError):
    """A key outside of this process cannot be used for TLS; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Signer(Protocol):
    """The private half of the leaf's key; one of the two is called, by the kind of the key."""

    def sign_ecdsa(self, digest: bytes) -> bytes:
        """Return the DER signature of a digest."""

    def rsa_private(self, block: bytes) -> bytes:
        """Return the private operation on a padded block of the modulus's size."""


def use_key(context: ssl.SSLContext, chain_pem: str, signer: Signer) -> None:
    """Present a chain (leaf first), proving it by the calls of `signer`.

    Raises: TlsKeyError when the chain cannot be used, or the interpreter's OpenSSL not be reached.
    """
    chain = _certificates(chain_pem)
    library = _library()
    address = _context_address(context)
    leaf, *others = (library.certificate(one) for one in chain)
    try:
        library.check(library.lib.SSL_CTX_use_certificate(address, leaf), "leaf certificate")
        key = library.key(chain[0].public_key(), signer)
        weakref.finalize(context, library.forget, key).atexit = False
        used = library.lib.SSL_CTX_use_PrivateKey(address, key.envelope)
        library.check(used, "key of the leaf certificate")
        for other in others:
            done = library.lib.SSL_CTX_ctrl(address, _SSL_CTRL_CHAIN_CERT, 1, other)
            library.check(done, "issuing certificate")
    finally:
        for certificate in (leaf, *others):
            library.lib.X509_free(certificate)
    context.sslsocket_class = _KeySocket
    context.sslobject_class = _KeyObject


class _KeySocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        with _library().failures:
            super().do_handshake(block)


class _KeyObject(ssl.SSLObject):
    def do_handshake(self) -> None:
        with _library().failures:
            super().do_handshake()


class _Failures(threading.local):
    """What the last private operation of this thread failed of; turns it into TlsKeyError."""

    error: Exception | None = None

    def __enter__(self) -> None:
        self.error = None

    def __exit__(self, kind: object, raised: BaseException | None, trace: object) -> None:
        error, self.error = self.error, None
        if error is not None and isinstance(raised, ssl.SSLError):
            raise TlsKeyError(f"the private key cannot be used: {error}") from error


@dataclass(frozen=True)
class _Key:
    """An EVP_PKEY, and the address of the EC_KEY or RSA in it.

    We keep a reference of our own until the context has gone, so that no other key can have the
    address as long as a signer is known by it.
    """

    envelope: int
    address: int


@dataclass(frozen=True)
class _Library:
    """OpenSSL as `_ssl` has loaded it, with our methods; `signers` are by the address of a key."""

    lib: Any
    signers: dict[int, Signer] = field(default_factory=dict)
    failures: _Failures = field(default_factory=_Failures)
    ec_method: int = 0
    rsa_method: int = 0
    callbacks: tuple[object, ...] = ()

    def certificate(self, certificate: x509.Certificate) -> int:
        der = certificate.public_bytes(Encoding.DER)
        start = c_char_p(der)
        return int(self.lib.d2i_X509(None, ctypes.byref(start), len(der)))

    def key(self, public: object, signer: Signer) -> _Key:
        """Return a new key whose private operations go to `signer`, until `forget`."""
        match public:
            case ec.EllipticCurvePublicKey() if public.curve.name in _CURVE_NIDS:
                inner, kind = self._ec_key(public), _EVP_PKEY_EC
            case rsa.RSAPublicKey():
                inner, kind = self._rsa_key(public), _EVP_PKEY_RSA
            case _:
                raise TlsKeyError(
                    "the leaf's key is neither RSA nor EC on P-256, P-384 or P-521; "
                    "request the certificate with another key"
                )
        envelope = self.lib.EVP_PKEY_new()
        self.check(self.lib.EVP_PKEY_assign(envelope, kind, inner), "key of the leaf certificate")
        self.signers[inner] = signer
        return _Key(envelope, inner)

    def forget(self, key: _Key) -> None:
        """Let go of a key and its signer."""
        self.signers.pop(key.address)
        self.lib.EVP_PKEY_free(key.envelope)

    def check(self, result: int, what: str) -> None:
        """Raise TlsKeyError, with OpenSSL's own words, unless a call returned success."""
        if result <= 0:
            text = ctypes.create_string_buffer(256)
            self.lib.ERR_error_string_n(self.lib.ERR_get_error(), text, len(text))
            self.lib.ERR_clear_error()
            raise TlsKeyError(
                f"OpenSSL refuses the {what}: {text.value.decode('ascii', 'replace')}"
            )

    def _ec_key(self, public: ec.EllipticCurvePublicKey) -> int:
        point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        key = self.lib.EC_KEY_new_by_curve_name(_CURVE_NIDS[public.curve.name])
        self.check(self.lib.EC_KEY_oct2key(key, point, len(point), None), "point of the leaf")
        self.check(self.lib.EC_KEY_set_method(key, self.ec_method), "method of an EC key")
        return int(key)

    def _rsa_key(self, public: rsa.RSAPublicKey) -> int:
        numbers = public.public_numbers()
        modulus, exponent = (
            self.lib.BN_bin2bn(data, len(data), None)
            for data in (
                n.to_bytes((n.bit_length() + 7) // 8, "big") for n in (numbers.n, numbers.e)
            )
        )
        key = self.lib.RSA_new()
        self.check(self.lib.RSA_set0_key(key, modulus, exponent, None), "modulus of the leaf")
        self.check(self.lib.RSA_set_method(key, self.rsa_method), "method of an RSA key")
        self.lib.RSA_set_flags(key, _RSA_FLAG_EXT_PKEY)
        return int(key)

    def attempt(self, address: int, call: Callable[[Signer], bytes], room: int) -> bytes | None:
        """Call a signer on behalf of OpenSSL; None, and the error kept, when it fails."""
        try:
            answer = call(self.signers[address])
        except Exception as error:  # nothing may leave a callback of C; the socket raises it
            self.failures.error = error
            return None
        if 0 < len(answer) <= room:
            return answer
        self.failures.error = TlsKeyError(f"a signature of {len(answer)} bytes, expected {room}")
        return None


@cache
def _library() -> _Library:
    """Return OpenSSL with the methods set up once; raises TlsKeyError when it is not usable."""
    lib = _openssl()
    ec_size, rsa_size = lib.ECDSA_size, lib.RSA_size

    def ec_sign(
        _type: int, digest: Any, size: int, out: Any, out_size: Any, _k: Any, _r: Any, key: int
    ) -> int:
        data = bytes(digest[:size])
        signature = library.attempt(key, lambda s: s.sign_ecdsa(data), ec_size(key))
        if signature is None:
            return 0
        ctypes.memmove(out, signature, len(signature))
        out_size[0] = len(signature)
        return 1

    def rsa_private(size: int, block: Any, out: Any, key: int, padding: int) -> int:
        data, room = bytes(block[:size]), rsa_size(key)

        def call(signer: Signer) -> bytes:
            if padding == _RSA_NO_PADDING:
                return signer.rsa_private(data)
            if padding == _RSA_PKCS1_PADDING:
                return signer.rsa_private(pad_digest_info(data, room))
            raise TlsKeyError(f"RSA padding {padding} is not known")

        signature = library.attempt(key, call, room)
        if signature is None:
            return -1
        ctypes.memmove(out, signature, len(signature))
        return len(signature)

    ec_callback, rsa_callback = _EcSign(ec_sign), _RsaPrivate(rsa_private)
    ec_method = lib.EC_KEY_METHOD_new(lib.EC_KEY_OpenSSL())
    lib.EC_KEY_METHOD_set_sign(ec_method, ec_callback, None, None)
    rsa_method = lib.RSA_meth_dup(lib.RSA_PKCS1_OpenSSL())
    lib.RSA_meth_set_priv_enc(rsa_method, rsa_callback)
    library = _Library(
        lib, ec_method=ec_method, rsa_method=rsa_method, callbacks=(ec_callback, rsa_callback)
    )
    return library


_POINTERS: dict[str, tuple[object, ...]] = {
    "d2i_X509": (c_void_p, c_void_p, c_long),
    "EVP_PKEY_new": (),
    "EC_KEY_new_by_curve_name": (c_int,),
    "EC_KEY_OpenSSL": (),
    "EC_KEY_METHOD_new": (c_void_p,),
    "BN_bin2bn": (c_char_p, c_int, c_void_p),
    "RSA_new": (),
    "RSA_PKCS1_OpenSSL": (),
    "RSA_meth_dup": (c_void_p,),
}
_NUMBERS: dict[str, tuple[object, ...]] = {
    "SSL_CTX_use_certificate": (c_void_p, c_void_p),
    "SSL_CTX_use_PrivateKey": (c_void_p, c_void_p),
    "EVP_PKEY_assign": (c_void_p, c_int, c_void_p),
    "EC_KEY_oct2key": (c_void_p, c_char_p, c_size_t, c_void_p),
    "EC_KEY_set_method": (c_void_p, c_void_p),
    "ECDSA_size": (c_void_p,),
    "RSA_set0_key": (c_void_p, c_void_p, c_void_p, c_void_p),
    "RSA_set_method": (c_void_p, c_void_p),
    "RSA_meth_set_priv_enc": (c_void_p, _RsaPrivate),
    "RSA_size": (c_void_p,),
}
_OTHERS: dict[str, tuple[object, tuple[object, ...]]] = {
    "OpenSSL_version_num": (c_ulong, ()),
    "SSL_CTX_ctrl": (c_long, (c_void_p, c_int, c_long, c_void_p)),
    "ERR_get_error": (c_ulong, ()),
    "ERR_error_string_n": (None, (c_ulong, c_char_p, c_size_t)),
    "ERR_clear_error": (None, ()),
    "X509_free": (None, (c_void_p,)),
    "EVP_PKEY_free": (None, (c_void_p,)),
    "EC_KEY_METHOD_set_sign": (None, (c_void_p, _EcSign, c_void_p, c_void_p)),
    "RSA_set_flags": (None, (c_void_p, c_int)),
}


def _openssl() -> Any:
    """Open OpenSSL through `_ssl` itself, so that no second copy of it can be meant."""
    lib = ctypes.CDLL(getattr(_ssl, "__file__", None))
    calls = {
        **{name: (c_void_p, arguments) for name, arguments in _POINTERS.items()},
        **{name: (c_int, arguments) for name, arguments in _NUMBERS.items()},
        **_OTHERS,
    }
    try:
        for name, (result, arguments) in calls.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise _unusable(f"its OpenSSL lacks {error}") from error
    found = lib.OpenSSL_version_num()
    if found != ssl.OPENSSL_VERSION_NUMBER or found >> 28 != _OPENSSL_MAJOR:
        raise _unusable(
            f"the OpenSSL found is {found:#x}, ssl uses {ssl.OPENSSL_VERSION_NUMBER:#x}"
        )
    return lib


def _context_address(context: ssl.SSLContext) -> int:
    """Return the SSL_CTX of a context: the first field of its object since Python 3.7."""
    if (
        sys.implementation.name != "cpython"
        or not _FIRST_PYTHON <= sys.version_info[:2] <= _LAST_PYTHON
    ):
        raise _unusable("the place of its TLS context is known for CPython 3.11 to 3.14 only")
    address = c_void_p.from_address(id(context) + object.__basicsize__).value
    if not address:
        raise _unusable("it has a TLS context without content")
    return address


def _unusable(why: str) -> TlsKeyError:
    version = ".".join(map(str, sys.version_info[:3]))
    return TlsKeyError(
        f"Python {version} with {ssl.OPENSSL_VERSION} cannot use a key outside of itself: {why}; "
        "use a key in a file"
    )


def _certificates(chain_pem: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(chain_pem.encode())
    except ValueError as error:
        raise TlsKeyError(f"the certificate chain is not PEM: {error}") from error
