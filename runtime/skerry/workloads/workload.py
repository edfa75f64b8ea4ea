"""The workload API: what a module may ask for itself, and what all may read.

Every route that names a module is answered to that module alone (callers.py).
"""

from collections.abc import Callable

from skerry.base.fields import b64, text
from skerry.base.http import HttpError, Request, Response, Router
from skerry.base.log import Logger
from skerry.workloads.api import VERSIONS, guarded, octets
from skerry.workloads.callers import Callers
from skerry.workloads.certificates import Certificates
from skerry.workloads.deployment import Deployment
from skerry.workloads.keyring import Keyring
from skerry.workloads.local_scope import LocalScope
from skerry.workloads.model import details
from skerry.workloads.modules import Modules
from skerry.workloads.settings import Settings

_HUB = "$edgeHub"


class WorkloadApi:
    """Answers the routes of the workload API."""

    def __init__(
        self,
        modules: Modules,
        callers: Callers,
        keyring: Keyring,
        certificates: Certificates,
        deployment: Deployment,
        scope: LocalScope,
        settings: Settings,
        log: Logger,
    ) -> None:
        self._modules = modules
        self._callers = callers
        self._keyring = keyring
        self._certificates = certificates
        self._deployment = deployment
        self._scope = scope
        self._settings = settings
        self._log = log

    def router(self) -> Router:
        """Return the routes."""
        router = Router(VERSIONS)
        of_module = "/modules/{module}/genid/{generation}"
        router.add("GET", "/modules", self._open(self._list))
        router.add("POST", f"{of_module}/sign", self._own(self._sign))
        router.add("POST", f"{of_module}/encrypt", self._own(self._encrypt))
        router.add("POST", f"{of_module}/decrypt", self._own(self._decrypt))
        router.add("POST", f"{of_module}/certificate/server", self._own(self._server))
        router.add("POST", "/modules/{module}/certificate/identity", self._own(self._identity))
        router.add("GET", "/modules/{module}/deployment", self._own(self._deployment_of))
        router.add("GET", "/modules/{module}/scope", self._own(self._scope_of))
        router.add("GET", "/trust-bundle", self._open(self._trust_bundle))
        router.add("GET", "/manifest-trust-bundle", self._open(self._manifest_trust_bundle))
        return router

    def _open(self, handler: Callable[..., Response]) -> Callable[..., Response]:
        return guarded(handler, self._log)

    def _own(self, handler: Callable[..., Response]) -> Callable[..., Response]:
        def call(request: Request, module: str, **parameters: str) -> Response:
            self._callers.require_module(request, module)
            return handler(request, module, **parameters)

        return guarded(call, self._log)

    def _list(self, _request: Request) -> Response:
        return Response.json({"modules": [details(module) for module in self._modules.all()]})

    def _sign(self, request: Request, module: str, generation: str) -> Response:
        # the generation is part of the route only: the key of the present one is used
        digest = self._keyring.sign(module, octets(request.json_object(), "data"))
        self._log.debug("signed", module=module, generation=generation)
        return Response.json({"digest": b64(digest)})

    def _encrypt(self, request: Request, module: str, generation: str) -> Response:
        body = request.json_object()
        iv, plaintext = octets(body, "initializationVector"), octets(body, "plaintext")
        return Response.json(
            {"ciphertext": b64(self._keyring.encrypt(module, generation, iv, plaintext))}
        )

    def _decrypt(self, request: Request, module: str, generation: str) -> Response:
        body = request.json_object()
        iv, ciphertext = octets(body, "initializationVector"), octets(body, "ciphertext")
        return Response.json(
            {"plaintext": b64(self._keyring.decrypt(module, generation, iv, ciphertext))}
        )

    def _server(self, request: Request, module: str, generation: str) -> Response:
        common_name = text(request.json_object(), "commonName")
        if not common_name:
            raise HttpError(400, "commonName is empty; expected the name of the server")
        return Response.json(self._certificates.server(module, generation, common_name), 201)

    def _identity(self, _request: Request, module: str) -> Response:
        return Response.json(self._certificates.identity(module), 201)

    def _deployment_of(self, _request: Request, module: str) -> Response:
        found = self._deployment.read() if module == _HUB else None
        if found is None:
            raise HttpError(404, f"there is no deployment for {module}")
        return Response.json(found)

    def _scope_of(self, _request: Request, module: str) -> Response:
        found = self._scope.document() if module == _HUB else None
        if found is None:
            raise HttpError(404, f"there is no scope of this device's own for {module}")
        return Response.json(found)

    def _trust_bundle(self, _request: Request) -> Response:
        bundle = self._certificates.trust_bundle(self._settings.trust_bundle_cert)
        if bundle is None:
            raise HttpError(404, "there is no trust bundle")
        return Response.json({"certificate": bundle})

    def _manifest_trust_bundle(self, _request: Request) -> Response:
        bundle = self._certificates.bundle(self._settings.manifest_trust_bundle_cert)
        return Response.json({"certificate": bundle or ""})
