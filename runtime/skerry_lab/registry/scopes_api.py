"""The REST of edge hubs: `/devices/{actor}/modules/$edgeHub/…` (azure-iot-edge.md §6.6).

`GET …InDeviceScope` is asked by a hub about its own scope; the POST and PUT forms name an auth
chain and serve nested hubs. `continuationLink` is a path for GET, and for POST what the next body
has to bring back.
"""

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from skerry.heads.routes import Answer, Request, Route
from skerry.wire.identity import Identity
from skerry_lab.registry.access import Access
from skerry_lab.registry.errors import bad_argument, unauthorized
from skerry_lab.registry.hierarchy import Chain
from skerry_lab.registry.model import EDGE_HUB, module_from
from skerry_lab.registry.requests import check_version, if_match, json_body, tagged
from skerry_lab.registry.scopes import MAX_PAGE, Scopes
from skerry_lab.registry.service import ANY, Registry

_PAGE = 10


class ScopesApi:
    """Handlers; each runs in one transaction."""

    def __init__(self, registry: Registry, access: Access) -> None:
        self._registry = registry
        self._scopes = Scopes(registry)
        self._access = access

    def routes(self) -> list[Route]:
        hub = "/devices/{actor}/modules/{module}"
        return [
            Route("GET", f"{hub}/devicesAndModulesInDeviceScope", self.own_scope),
            Route("GET", f"{hub}/deviceAndModuleInDeviceScope", self.one_of_own_scope),
            Route("POST", f"{hub}/devicesAndModulesInTargetDeviceScope", self.target_scope),
            Route("POST", f"{hub}/getDeviceAndModuleOnBehalfOf", self.one_on_behalf),
            Route("PUT", f"{hub}/putModuleOnBehalfOf", self.put_module),
            Route("POST", f"{hub}/getModuleOnBehalfOf", self.get_module),
            Route("POST", f"{hub}/getModulesOnTargetDevice", self.list_modules),
            Route("POST", f"{hub}/deleteModuleOnBehalfOf", self.delete_module),
        ]

    def own_scope(self, request: Request, actor: str, module: str) -> Answer:
        self._check(request, actor, module)
        size = _size(request.query.get("deviceCount", str(_PAGE)), "deviceCount")
        page = self._scopes.page(actor, size, _after(request.query.get("continuationToken")))
        return Answer.json(page.to_json(page.after and _link(request, actor, size, page.after)))

    def one_of_own_scope(self, request: Request, actor: str, module: str) -> Answer:
        self._check(request, actor, module)
        wanted = _target(request.query)
        return Answer.json(self._scopes.one(actor, wanted).to_json(None))

    def target_scope(self, request: Request, actor: str, module: str) -> Answer:
        body, chain = self._asked(request, actor, module)
        size = _size(body.get("pageSize", _PAGE), "pageSize")
        link = body.get("continuationLink")
        page = self._scopes.page(chain.target.device_id, size, _after(link))
        return Answer.json(page.to_json(page.after and _token(page.after)))

    def one_on_behalf(self, request: Request, actor: str, module: str) -> Answer:
        """The chain is that of the wanted one, or of the edge device that wants it."""
        body, chain = self._asked(request, actor, module)
        return Answer.json(self._scopes.one(chain.target.device_id, _target(body)).to_json(None))

    def put_module(self, request: Request, actor: str, module: str) -> Answer:
        body, chain = self._asked(request, actor, module)
        wanted = body.get("module")
        if not isinstance(wanted, dict):
            raise bad_argument("the body has no module, expected a JSON object")
        module_id = _text(wanted, "moduleId")
        device_id = chain.target.device_id
        found = module_from(wanted, device_id, module_id, self._registry.fresh_keys())
        made = self._registry.put_module(found, if_match(request))
        return tagged(made.to_json(), made.etag)

    def get_module(self, request: Request, actor: str, module: str) -> Answer:
        body, chain = self._asked(request, actor, module)
        found = self._registry.module(chain.target.device_id, _text(body, "targetModuleId"))
        return tagged(found.to_json(), found.etag)

    def list_modules(self, request: Request, actor: str, module: str) -> Answer:
        _, chain = self._asked(request, actor, module)
        modules = self._registry.store.modules(chain.target.device_id)
        return Answer.json([one.to_json() for one in modules])

    def delete_module(self, request: Request, actor: str, module: str) -> Answer:
        body, chain = self._asked(request, actor, module)
        module_id = _text(body, "moduleId")
        etag = if_match(request) or ANY
        self._registry.delete_module(chain.target.device_id, module_id, etag)
        return Answer(204)

    def _check(self, request: Request, actor: str, module: str) -> None:
        check_version(request)
        if module != EDGE_HUB:
            raise unauthorized(f"module {module!r} may not ask, expected {EDGE_HUB!r}")
        self._access.device(request, Identity(actor, module))

    def _asked(
        self, request: Request, actor: str, module: str
    ) -> tuple[Mapping[str, object], Chain]:
        self._check(request, actor, module)
        body = json_body(request)
        return body, self._scopes.chain(body.get("authChain"), actor)


def _target(asked: Mapping[str, object]) -> Identity:
    module_id = asked.get("targetModuleId") or None
    if module_id is not None and not isinstance(module_id, str):
        raise bad_argument(f"targetModuleId is {module_id!r}, expected a text")
    return Identity(_text(asked, "targetDeviceId"), module_id)


def _text(body: Mapping[str, object], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise bad_argument(f"{name} is {value!r}, expected an id")
    return value


def _size(value: object, name: str) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_PAGE:
        raise bad_argument(f"{name} is {value!r}, expected 1 to {MAX_PAGE}")
    return int(text)


def _token(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode()


def _after(token: object) -> str:
    if not token:
        return ""
    try:
        return base64.b64decode(str(token), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise bad_argument(f"the continuation {token!r} is none that was handed out") from error


def _link(request: Request, actor: str, size: int, after: str) -> str:
    query = {
        "deviceCount": size,
        "continuationToken": _token(after),
        "api-version": request.query["api-version"],
    }
    path = f"/devices/{quote(actor, safe='')}/modules/{quote(EDGE_HUB, safe='')}"
    return f"{path}/devicesAndModulesInDeviceScope?{urlencode(query)}"
