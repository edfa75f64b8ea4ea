"""The HTTP routes of tpmd: upstream's three, signing with a key that is not kept, and sealing.

Every route is for root and identityd only. One request at a time has the TPM. Troubles of the TPM
are told to the caller as they are: a person has to solve them, and no secret is in them.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from skerry.base.fields import b64, octets
from skerry.base.guard import Guard
from skerry.base.http import HttpError, Request, Response, Router
from skerry.base.log import Logger
from skerry.tpm.errors import (
    BusyError,
    ChangedError,
    RequestError,
    TroubleError,
    UnauthorizedError,
)
from skerry.tpm.keys import Open, TpmKeys
from skerry.tpm.model import Settings
from skerry.tpm.sealing import check_pcrs, parse_sealed, seal, unseal
from skerry.wire.tpm import TpmDataError, parse_import_blob

if TYPE_CHECKING:
    from skerry.tpm.device import Device, Loaded

API_VERSIONS = ("2020-09-01",)


class TpmApi:
    """Answers the routes of tpmd with one TPM."""

    def __init__(self, settings: Settings, keys: TpmKeys, open_tpm: Open, log: Logger) -> None:
        self._settings = settings
        self._keys = keys
        self._open = open_tpm
        self._log = log
        self._guarded = Guard(log, RequestError, UnauthorizedError, (OSError,))
        self._using = threading.Lock()

    def router(self) -> Router:
        """Return the routes."""
        router = Router(API_VERSIONS)
        for method, path, handler in (
            ("GET", "/get_tpm_keys", self._public_keys),
            ("POST", "/import_auth_key", self._import),
            ("POST", "/sign_with_auth_key", self._sign),
            ("POST", "/sign_with_key", self._sign_once),
            ("POST", "/seal", self._seal),
            ("POST", "/unseal", self._unseal),
        ):
            router.add(method, path, self._guarded(self._checked(handler)))
        return router

    def _checked(self, handler: Callable[[Request], Response]) -> Callable[[Request], Response]:
        def call(request: Request) -> Response:
            self._settings.require(request.peer.uid)
            try:
                return handler(request)
            except TpmDataError as error:
                raise RequestError(str(error)) from error
            except ChangedError as error:
                raise HttpError(409, str(error)) from error
            except TroubleError as error:
                self._log.error("TPM", reason=error)
                status = 503 if isinstance(error, BusyError) else 500
                raise HttpError(status, str(error)) from error

        return call

    def _public_keys(self, _request: Request) -> Response:
        with self._using, self._open() as device:
            endorsement, storage = self._keys.public_keys(device)
        return Response.json(
            {"endorsement_key": b64(endorsement), "storage_root_key": b64(storage)}
        )

    def _import(self, request: Request) -> Response:
        blob = parse_import_blob(octets(request.json_object(), "key"))
        with self._using, self._open() as device:
            self._keys.import_auth_key(device, blob)
        return Response.json({})

    def _sign(self, request: Request) -> Response:
        data = octets(request.json_object(), "data")
        with self._using, self._open() as device:
            return Response.json({"digest": b64(self._keys.sign(device, data))})

    def _sign_once(self, request: Request) -> Response:
        body = request.json_object()
        blob, data = parse_import_blob(octets(body, "key")), octets(body, "data")
        with self._using, self._open() as device:
            return Response.json({"digest": b64(self._keys.sign_once(device, blob, data))})

    def _seal(self, request: Request) -> Response:
        body = request.json_object()
        data = octets(body, "data")
        pcrs = body.get("pcrs")
        if not isinstance(pcrs, list):
            raise HttpError(422, "pcrs is missing or not an array")
        wanted = check_pcrs(pcrs)
        with self._using, self._open() as device:
            sealed = seal(device, self._storage(device), data, wanted)
        return Response.json({"sealed": b64(sealed)})

    def _unseal(self, request: Request) -> Response:
        sealed = parse_sealed(octets(request.json_object(), "sealed"))
        with self._using, self._open() as device:
            return Response.json({"data": b64(unseal(device, self._storage(device), sealed))})

    def _storage(self, device: "Device") -> "Loaded":
        return self._keys.storage(device)[0]
