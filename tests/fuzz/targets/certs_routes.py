"""Every route of certd: any bytes get an answer, and never one of our own defects (500)."""

import atexit
import json
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from harness.clock import MovableClock
from skerry.base.http import HttpError, Request
from skerry.base.log import get_logger
from skerry.base.peer import Peer
from skerry.certs import x509
from skerry.certs.api import CertsApi
from skerry.certs.issuing import CertIssuer
from skerry.certs.model import parse_settings
from skerry.certs.store import CertStore
from skerry.keys.client import KeysClient

_SETTINGS = parse_settings(
    {
        "cert_issuance": {"self": {"method": "self_signed"}, "local": {"method": "local_ca"}},
        "preloaded_certs": {"list": ["a", "b"]},
        "principal": [{"uid": 1000, "certs": ["*"]}],
    }
)
_FOLDER = tempfile.mkdtemp()
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
_STORE = CertStore(Path(_FOLDER), _SETTINGS.preloaded)
_CLOCK = MovableClock(datetime(2026, 1, 1, tzinfo=UTC))
_KEYS = KeysClient(Path(_FOLDER) / "no-keyd")
_ISSUER = CertIssuer(_SETTINGS, _STORE, _KEYS, None, _CLOCK, lambda: None)
_ROUTER = CertsApi(_SETTINGS, _STORE, _ISSUER, get_logger("certd")).router()
_KEY = ec.derive_private_key(4711, ec.SECP256R1())
_CERT = x509.to_pem(
    [
        x509.issue(
            x509.load_request(x509.ca_request(x509.common_name("a"), _KEY)),
            _KEY,
            now=_CLOCK.now(),
            lifetime=timedelta(days=9),
        )
    ]
).decode()
_CSR = x509.client_request(x509.common_name("m"), ["m"], _KEY).decode()
_NO_KEYD = {("POST", "/certificates")}


def _seed(line: str, body: object = None) -> bytes:
    return f"{line}\n".encode() + (b"" if body is None else json.dumps(body).encode())


ALLOWED = ()
SEEDS = (
    _seed("GET /certificates/list"),
    _seed("GET /certificates/a%2Fb%00"),
    _seed("DELETE /certificates/a"),
    _seed("PUT /certificates/a", {"pem": _CERT}),
    _seed("POST /certificates", {"certId": "local", "csr": _CSR}),
    _seed("POST /certificates", {"certId": "a", "csr": _CSR, "issuer": {"certId": "b"}}),
    _seed(
        "POST /certificates",
        {"certId": "a", "csr": "", "issuer": {"certId": "list", "privateKeyHandle": "x"}},
    ),
)


def one(data: bytes) -> None:
    """Send a request: the first line is the method and the path, the rest the body."""
    line, _, body = data.partition(b"\n")
    method, _, path = line.decode("latin-1").partition(" ")
    query = {"api-version": "2020-09-01"}
    try:
        status = _ROUTER.handle(
            Request(method, path, query, {}, body, Peer(1, 1000, 1000), "certd")
        ).status
    except HttpError as error:
        status = error.status
    if status == 500 and (method, path.rstrip("/")) not in _NO_KEYD:
        raise AssertionError(f"{method} {path} failed inside")
