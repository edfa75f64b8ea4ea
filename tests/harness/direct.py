"""keyd and certd without sockets and threads: their routes, called in this thread.

For work that is killed at its system calls, where one thread has to do all of it.
"""

import json
import socket
from collections.abc import Mapping
from pathlib import Path

from skerry.base.client import ApiError, ServiceClient
from skerry.base.clock import Clock, SystemClock
from skerry.base.http import HttpError, Request, Router
from skerry.base.log import get_logger
from skerry.base.peer import Peer
from skerry.base.service import Context
from skerry.base.upkeep import Upkeep
from skerry.certs import model as certs_model
from skerry.certs.api import CertsApi
from skerry.certs.client import CertsClient
from skerry.certs.issuing import CertIssuer
from skerry.certs.store import CertStore
from skerry.keys.client import KeysClient
from skerry.keys.service import build


class _Direct(ServiceClient):
    """Calls routes as root; what JSON cannot carry does not pass."""

    def __init__(self, router: Router, version: str) -> None:
        super().__init__(Path("/nowhere"), version)
        self._router = router
        self._version = version

    def _json(
        self, method: str, path: str, body: object, query: Mapping[str, str] | None
    ) -> object:
        data = b"" if body is None else json.dumps(body).encode()
        asked = {"api-version": self._version, **(query or {})}
        request = Request(method, path, asked, {}, data, Peer(1, 0, 0), "direct")
        try:
            response = self._router.handle(request)
        except HttpError as error:
            raise ApiError(error.status, str(error)) from error
        return json.loads(response.body) if response.body else None


class DirectKeys(KeysClient):
    """A keyd whose state is below a folder."""

    def __init__(self, folder: Path) -> None:
        log, clock = get_logger("keyd"), SystemClock()
        upkeep = Upkeep(folder, clock, log)
        sockets = {"keyd": socket.socket(socket.AF_UNIX)}
        context = Context("keyd", folder, folder, {}, "", sockets, {}, clock, log, upkeep)
        (listener,) = build(context)
        listener.sock.close()
        self._service = _Direct(listener.router, "2021-05-01")


class DirectCerts(CertsClient):
    """A certd whose state is below a folder, behind a keyd."""

    def __init__(
        self, folder: Path, issuance: dict[str, object], keys: KeysClient, clock: Clock
    ) -> None:
        settings = certs_model.parse_settings({"cert_issuance": issuance})
        store = CertStore(folder, settings.preloaded)
        issuer = CertIssuer(settings, store, keys, None, clock, lambda: None)
        router = CertsApi(settings, store, issuer, get_logger("certd")).router()
        self._service = _Direct(router, "2020-09-01")
