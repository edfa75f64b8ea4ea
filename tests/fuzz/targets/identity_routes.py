"""Every route of identityd: any bytes get an answer, and never one of our own defects.

An input is uid, method and path on a line, the query on another, then the body. keyd is not there:
what needs it is answered "internal error", and that is the only 500.
"""

import atexit
import json
import shutil
import tempfile
from pathlib import Path
from urllib.parse import parse_qsl

from harness.clock import MovableClock
from skerry.base.http import HttpError, Request
from skerry.base.log import get_logger
from skerry.base.peer import Peer
from skerry.identity.api import IdentityApi
from skerry.identity.modules import ModuleKeys
from skerry.identity.proof import NoProof
from skerry.identity.provisioner import Provisioner
from skerry.identity.settings import parse_settings
from skerry.identity.store import DeviceStore
from skerry.keys.client import KeysClient
from skerry.provisioning.cloud import Cloud, Reach

_SETTINGS = parse_settings(
    {
        "hostname": "h",
        "provisioning": {"source": "standalone"},
        "principal": [
            {"uid": 1, "name": "edge"},
            {"uid": 2, "name": "reader", "idtype": ["module"]},
            {"uid": 3, "name": "device", "idtype": ["device"]},
        ],
    }
)
_FOLDER = tempfile.mkdtemp()
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
_LOG = get_logger("identityd")
_CLOCK = MovableClock()
_KEYS = KeysClient(Path(_FOLDER) / "no-keyd")
_CLOUD = Cloud(Reach(), _CLOCK, _LOG, lambda _: None)
_PROVISIONER = Provisioner(
    _SETTINGS,
    DeviceStore(Path(_FOLDER), _LOG),
    _KEYS,
    NoProof(),
    _CLOUD,
    _CLOCK,
    _LOG,
    lambda _: None,
)
_ROUTER = IdentityApi(_SETTINGS, _PROVISIONER, ModuleKeys(_KEYS), _LOG).router()
_NEED_KEYD = ("POST", "PUT", "GET")


def _seed(line: str, query: str = "type=aziot", body: object = None) -> bytes:
    return f"{line}\n{query}\n".encode() + (b"" if body is None else json.dumps(body).encode())


ALLOWED = ()
SEEDS = (
    _seed("0 GET /identities/identity"),
    _seed("1 POST /identities/device", "", {"type": "aziot"}),
    _seed("1 POST /identities/device/reprovision"),
    _seed("1 GET /identities/modules"),
    _seed("1 POST /identities/modules", "", {"type": "aziot", "moduleId": "$edgeAgent"}),
    _seed("1 POST /identities/modules", "", {"type": "local", "moduleId": 7}),
    _seed("2 GET /identities/modules/reader"),
    _seed("1 PUT /identities/modules/%24edgeHub", body={}),
    _seed("1 DELETE /identities/modules/a%2Fb%00"),
    _seed("3 GET /identities/provisioning"),
    _seed("9 GET /trust-bundle"),
)


def one(data: bytes) -> None:
    """Call a route."""
    line, _, rest = data.partition(b"\n")
    query, _, body = rest.partition(b"\n")
    uid, _, call = line.decode("latin-1").partition(" ")
    method, _, path = call.partition(" ")
    number = int(uid) if uid.isascii() and uid.isdigit() and len(uid) < 6 else 9
    parameters = dict(parse_qsl(query.decode("latin-1")))
    parameters["api-version"] = "2022-08-01"
    try:
        _ROUTER.handle(
            Request(method, path, parameters, {}, body, Peer(1, number, number), "identityd")
        )
    except HttpError as error:
        if error.status == 500 and method not in _NEED_KEYD:
            raise AssertionError(f"{method} {path} is answered 500") from error
