"""The HTTP routes of certd. Reading is free for all who can open the socket; writing is not."""

from skerry.base.client import ApiError, UnreachableError
from skerry.base.fields import table, text
from skerry.base.guard import Guard
from skerry.base.http import HttpError, Request, Response, Router
from skerry.base.log import Logger
from skerry.certs.errors import (
    CertsError,
    EstError,
    EstPendingError,
    ParameterError,
    UnauthorizedError,
)
from skerry.certs.issuing import CertIssuer
from skerry.certs.model import Settings, check_id
from skerry.certs.store import CertStore

API_VERSIONS = ("2020-09-01",)
_SERVER_FAILED, _LATER = 502, 503


class CertsApi:
    """Answers the routes of certd."""

    def __init__(
        self, settings: Settings, store: CertStore, issuer: CertIssuer, log: Logger
    ) -> None:
        self._settings = settings
        self._store = store
        self._issuer = issuer
        self._log = log
        self._guarded = Guard(
            log,
            ParameterError,
            UnauthorizedError,
            (CertsError, OSError, ApiError, UnreachableError),
        )

    def router(self) -> Router:
        """Return the routes."""
        router = Router(API_VERSIONS)
        router.add("POST", "/certificates", self._guarded(self._create))
        router.add("PUT", "/certificates/{cert_id}", self._guarded(self._import))
        router.add("GET", "/certificates/{cert_id}", self._guarded(self._get))
        router.add("DELETE", "/certificates/{cert_id}", self._guarded(self._delete))
        return router

    def _create(self, request: Request) -> Response:
        body = request.json_object()
        cert_id = self._allowed(request, text(body, "certId"))
        csr = text(body, "csr").encode()
        if body.get("issuer") is None:
            pem = self._by_settings(cert_id, csr)
        else:
            issuer = table(body, "issuer")
            pem = self._issuer.by_issuer(
                cert_id, csr, text(issuer, "certId"), text(issuer, "privateKeyHandle")
            )
        self._store.put(cert_id, pem)
        self._log.info("certificate issued", id=cert_id, uid=request.peer.uid)
        return Response.json({"pem": pem.decode()}, 201)

    def _by_settings(self, cert_id: str, csr: bytes) -> bytes:
        try:
            return self._issuer.by_settings(cert_id, csr)
        except EstError as error:
            self._log.error("no certificate by EST", id=cert_id, reason=error)
            status = _LATER if isinstance(error, EstPendingError) else _SERVER_FAILED
            raise HttpError(status, str(error)) from error

    def _import(self, request: Request, cert_id: str) -> Response:
        self._allowed(request, cert_id)
        pem = text(request.json_object(), "pem")
        self._store.put(cert_id, pem.encode())
        return Response.json({"pem": pem}, 201)

    def _get(self, _request: Request, cert_id: str) -> Response:
        return Response.json({"pem": self._store.get(check_id(cert_id)).decode()})

    def _delete(self, request: Request, cert_id: str) -> Response:
        self._store.delete(self._allowed(request, cert_id))
        return Response.empty()

    def _allowed(self, request: Request, cert_id: str) -> str:
        self._settings.require(request.peer.uid, check_id(cert_id))
        return cert_id
