"""Every route of tpmd: any request is answered, strangers are refused before anything is looked at.

An input is `METHOD /path`, a line break, and the body. There is no TPM: what gets as far as that
is told so.
"""

import functools
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.base.fields import b64
from skerry.base.http import HttpError, Request
from skerry.base.log import Logger
from skerry.base.peer import Peer
from skerry.tpm.api import TpmApi
from skerry.tpm.errors import TroubleError
from skerry.tpm.keys import TpmKeys
from skerry.tpm.model import Settings
from skerry.tpm.sealing import Sealed
from skerry.wire.tpm import Attributes, HmacParameters, ImportBlob, Public, sized

if TYPE_CHECKING:
    from skerry.tpm.device import Device

_STRANGER, _IDENTITY = 1000, 13614
_NO_TPM = "no TPM here"
_KEY = Public(Attributes.SIGN, HmacParameters(), b"u" * 32)
_BLOB = ImportBlob(b"c" * 66, b"s" * 16, b"d" * 16, b"e" * 16, _KEY).marshal()
_SEALED = Sealed({7: b"7" * 32}, _KEY.marshal(), sized(b"private")).marshal()

ALLOWED: tuple[type[Exception], ...] = ()
SEEDS = (
    b"GET /get_tpm_keys\n",
    b'POST /import_auth_key\n{"key":"%s"}' % b64(_BLOB).encode(),
    b'POST /sign_with_auth_key\n{"data":"eA=="}',
    b'POST /sign_with_key\n{"key":"AAAA","data":"eA=="}',
    b'POST /seal\n{"data":"eA==","pcrs":[7,11]}',
    b'POST /unseal\n{"sealed":"%s"}' % b64(_SEALED).encode(),
)


@functools.cache
def _tpmd() -> tuple[tempfile.TemporaryDirectory[str], TpmApi]:
    folder = tempfile.TemporaryDirectory()
    log = Logger(logging.getLogger("fuzz"))
    settings = Settings()
    keys = TpmKeys(settings, Path(folder.name), log)

    def open_tpm() -> "Device":
        raise TroubleError(_NO_TPM)

    return folder, TpmApi(settings, keys, open_tpm, log)


def one(data: bytes) -> None:
    """Call the route as a stranger, who learns nothing, and as identityd."""
    line, _, body = data.partition(b"\n")
    method, _, path = line.decode("latin-1").partition(" ")
    router = _tpmd()[1].router()
    for uid in (_STRANGER, _IDENTITY):
        query = {"api-version": "2020-09-01"}
        request = Request(method, path, query, {}, body, Peer(1, uid, uid), "tpmd")
        try:
            status, message = router.handle(request).status, ""
        except HttpError as error:
            status, message = error.status, str(error)
        if uid == _STRANGER and (status, message) not in (
            (401, "unauthorized"),
            (404, "not found"),
            (400, "method not allowed"),
        ):
            raise AssertionError(f"a stranger got {status}: {message}")
        if status < 400 or (status >= 500 and message != _NO_TPM):
            raise AssertionError(f"answered {status}: {message}")
