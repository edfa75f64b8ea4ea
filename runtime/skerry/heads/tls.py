"""The TLS side of the heads: a server that asks for a client certificate and accepts any.

Whose certificate it is, is for the API to judge by what is enrolled, so that an unknown device gets
the answer of the API (401) and not a broken connection. Python's `ssl` verifies against authorities
loaded beforehand and has no setting for this; OpenSSL has one (SSL_CTX_set_cert_verify_callback),
reached by ctypes on the library that `_ssl` itself has loaded. The client still has to prove that
it holds the leaf's key: that is part of the handshake and not of the chain's verification.

Sessions are not resumed: a resumed one would carry the leaf without its chain.
"""

import _ssl
import ctypes
import ssl
import sys
import sysconfig
from asyncio import sslproto
from pathlib import Path
from typing import Protocol, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from skerry.heads.errors import HeadError

_BUFFER_BYTES = 8 * 1024
_OBJECT_HEAD_BYTES = 16
_FIRST_PYTHON, _LAST_PYTHON = (3, 11), (3, 14)
_VERIFY = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def _yes(_store: int | None, _argument: int | None) -> int:
    return 1


_ACCEPT = _VERIFY(_yes)
"""Lives as long as the process: OpenSSL keeps its address."""


def server_context(certificate_file: Path) -> ssl.SSLContext:
    """Return the context for a file with the server's key and chain.

    Raises: HeadError when this Python's `ssl` is not laid out as CPython's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate_file)
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    context.verify_mode = ssl.CERT_OPTIONAL
    _accept_any_client(context)
    return context


def bound_buffers() -> None:
    """Let asyncio keep 8 KiB for what comes on each TLS connection of this process.

    Its 256 KiB are most of the memory of a server with many connections (decision 0116).
    """
    sslproto.SSLProtocol.max_size = _BUFFER_BYTES


def client_chain(connection: ssl.SSLObject | None) -> tuple[bytes, ...]:
    """Return what the client showed, DER, leaf first; nothing when it showed none, or no TLS."""
    if connection is None or connection.getpeercert(binary_form=True) is None:
        return ()
    # Public from Python 3.13 on, where it gives bytes.
    inner = cast("_Chained", getattr(connection, "_sslobj", connection))
    return tuple(
        part if isinstance(part, bytes) else part.public_bytes(_ssl.ENCODING_DER)
        for part in inner.get_unverified_chain()
    )


def leaf_name(certificate: x509.Certificate) -> str:
    """Return the common name of a certificate's subject, empty when it has none."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def pem(certificate: x509.Certificate) -> str:
    """Return a certificate as PEM text."""
    return certificate.public_bytes(Encoding.PEM).decode()


class _Part(Protocol):
    def public_bytes(self, encoding: int) -> bytes: ...


class _Chained(Protocol):
    def get_unverified_chain(self) -> list[_Part | bytes]: ...


def _accept_any_client(context: ssl.SSLContext) -> None:
    if (
        sys.implementation.name != "cpython"
        or not _FIRST_PYTHON <= sys.version_info[:2] <= _LAST_PYTHON
        or ctypes.sizeof(ctypes.c_void_p) != 8
        or sysconfig.get_config_var("Py_GIL_DISABLED")
        or sysconfig.get_config_var("Py_DEBUG")
    ):
        raise HeadError(
            f"a server cannot ask for client certificates with Python {sys.version.split()[0]}; "
            "expected an ordinary 64-bit CPython 3.11 to 3.14"
        )
    library = ctypes.CDLL(getattr(_ssl, "__file__", None))
    pointer = ctypes.c_void_p.from_address(id(context) + _OBJECT_HEAD_BYTES)
    mode = library.SSL_CTX_get_verify_mode
    mode.argtypes, mode.restype = [ctypes.c_void_p], ctypes.c_int
    if mode(pointer) != int(ssl.CERT_OPTIONAL):
        raise HeadError("a server cannot reach OpenSSL's context of this Python; use CPython's ssl")
    setter = library.SSL_CTX_set_cert_verify_callback
    setter.argtypes, setter.restype = [ctypes.c_void_p, _VERIFY, ctypes.c_void_p], None
    setter(pointer, _ACCEPT, None)
