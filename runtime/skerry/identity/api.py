"""The HTTP routes of identityd, all api-versions.

Rights by kernel uid: root and principals without `idtype` may call everything; a principal with
`idtype` may ask for the identities of its kinds, a module only for the one of its own name.
"""

from collections.abc import Callable

from skerry.base.client import ApiError, UnreachableError
from skerry.base.fields import text
from skerry.base.guard import Guard
from skerry.base.http import HttpError, Request, Response, Router
from skerry.base.log import Logger
from skerry.certs.errors import CertsError
from skerry.identity.errors import ParameterError, RecordError, UnauthorizedError
from skerry.identity.model import ROOT_UID, Auth, Module
from skerry.identity.modules import ModuleKeys
from skerry.identity.provisioner import Provisioner
from skerry.identity.settings import Dps, Manual, Settings, Standalone
from skerry.provisioning.errors import ProvisioningError

_ATTESTATION = {Auth.SAS: "symmetric_key", Auth.X509: "x509", Auth.TPM: "tpm"}
API_VERSIONS = ("2020-09-01", "2021-12-01", "2022-08-01")


class IdentityApi:
    """Answers the routes of identityd."""

    def __init__(
        self, settings: Settings, provisioner: Provisioner, keys: ModuleKeys, log: Logger
    ) -> None:
        self._settings = settings
        self._provisioner = provisioner
        self._keys = keys
        self._log = log
        self._guard = Guard(
            log,
            ParameterError,
            UnauthorizedError,
            (RecordError, OSError, ApiError, UnreachableError, CertsError),
        )

    def router(self) -> Router:
        """Return the routes."""
        router = Router(API_VERSIONS)
        for method, path, handler in (
            ("GET", "/identities/identity", self._own),
            ("POST", "/identities/device", self._get_device),
            ("POST", "/identities/device/reprovision", self._reprovision),
            ("GET", "/identities/modules", self._list),
            ("POST", "/identities/modules", self._create),
            ("GET", "/identities/modules/{module_id}", self._get),
            ("PUT", "/identities/modules/{module_id}", self._update),
            ("DELETE", "/identities/modules/{module_id}", self._delete),
            ("GET", "/trust-bundle", self._trust_bundle),
        ):
            router.add(method, path, self._guarded(handler))
        provisioning = self._guarded(self._provisioning)
        router.add("GET", "/identities/provisioning", provisioning, since="2021-12-01")
        return router

    def _guarded(self, handler: Callable[..., Response]) -> Callable[..., Response]:
        def call(request: Request, **parameters: str) -> Response:
            try:
                return handler(request, **parameters)
            except ProvisioningError as error:
                # upstream's status for whatever keeps the device from DPS and hub
                self._log.error("no identity", path=request.path, reason=error)
                raise HttpError(404, str(error)) from error

        return self._guard(call)

    def _own(self, request: Request) -> Response:
        principal = self._settings.principal(request.peer.uid)
        if principal is None:
            raise UnauthorizedError(request.peer.uid, request.path)
        if principal.id_types is None or "device" in principal.id_types:
            return self._device_answer()
        return self._module_answer(self._provisioner.modules().get(principal.name))

    def _get_device(self, request: Request) -> Response:
        principal = self._settings.principal(request.peer.uid)
        if not (principal and principal.id_types and "device" in principal.id_types):
            self._require_daemon(request)
        _require_type(request.json_object().get("type"))
        return self._device_answer()

    def _reprovision(self, request: Request) -> Response:
        self._require_daemon(request)
        self._provisioner.reprovision()
        return Response.empty()

    def _list(self, request: Request) -> Response:
        self._require_daemon(request)
        _require_type(request.query.get("type"))
        entries = [
            {"type": "aziot", "spec": self._spec(m)} for m in self._provisioner.modules().all()
        ]
        return Response.json({"identities": entries})

    def _create(self, request: Request) -> Response:
        self._require_daemon(request)
        body = request.json_object()
        _require_type(body.get("type"))
        return self._module_answer(self._provisioner.modules().ensure(text(body, "moduleId")))

    def _get(self, request: Request, module_id: str) -> Response:
        principal = self._settings.principal(request.peer.uid)
        if not (principal and principal.id_types and principal.name == module_id):
            self._require_daemon(request)
        _require_type(request.query.get("type"))
        return self._module_answer(self._provisioner.modules().get(module_id))

    def _update(self, request: Request, module_id: str) -> Response:
        self._require_daemon(request)
        _require_type(request.query.get("type"))
        request.json_object()
        return self._module_answer(self._provisioner.modules().ensure(module_id))

    def _delete(self, request: Request, module_id: str) -> Response:
        self._require_daemon(request)
        _require_type(request.query.get("type"))
        self._provisioner.modules().delete(module_id)
        return Response.empty()

    def _provisioning(self, _request: Request) -> Response:
        source = self._settings.source
        match source:
            case Standalone() | Manual():
                name = "standalone" if isinstance(source, Standalone) else "manual"
                facts: dict[str, object] = {"source": name, "auth": source.proof.auth.value}
                if isinstance(source, Standalone):
                    facts |= {"hubName": source.hub_name, "deviceId": source.device_id}
            case Dps():
                facts = {
                    "source": "dps",
                    "auth": _ATTESTATION[source.proof.auth],
                    "endpoint": source.endpoint,
                    "scope_id": source.scope_id,
                    "registration_id": source.registration_id,
                    "payload": source.payload_path,
                }
            case None:
                facts = {"source": "none"}
        return Response.json(facts)

    def _trust_bundle(self, _request: Request) -> Response:
        return Response.json({"certificate": ""})

    def _require_daemon(self, request: Request) -> None:
        if request.peer.uid == ROOT_UID:
            return
        principal = self._settings.principal(request.peer.uid)
        if principal is None or principal.id_types is not None:
            raise UnauthorizedError(request.peer.uid, request.path)

    def _device_answer(self) -> Response:
        spec = {**self._spec(None), "auth": self._provisioner.proof()}
        return Response.json({"type": "aziot", "spec": spec})

    def _module_answer(self, module: Module) -> Response:
        auth = {"type": "sas", "keyHandle": self._keys.handle(module)}
        return Response.json({"type": "aziot", "spec": {**self._spec(module), "auth": auth}})

    def _spec(self, module: Module | None) -> dict[str, object]:
        device = self._provisioner.device()
        spec: dict[str, object] = {
            "hubName": device.hub_name,
            "gatewayHost": device.gateway_host,
            "deviceId": device.device_id,
        }
        if module is not None:
            spec |= {"moduleId": module.module_id, "genId": module.generation_id}
        return spec


def _require_type(value: object) -> None:
    if value == "local":
        raise ParameterError("identities of type 'local' are not part of this version")
    if value != "aziot":
        raise ParameterError(f"identity type {value!r} is not known; expected 'aziot'")
