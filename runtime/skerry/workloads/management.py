"""The management API: modules, identities, the machine, the deployment.

Reading is free for all who can open the socket, and so is starting and stopping what is there; what
makes or changes modules and identities is for the edge agent alone, known by its container. The
socket in the agent's own folder answers nobody else at all.
"""

import threading
from collections.abc import Callable

from skerry.base.clock import Clock
from skerry.base.fields import text
from skerry.base.http import HttpError, Request, Response, Router
from skerry.base.log import Logger
from skerry.engine.errors import EngineError
from skerry.engine.model import Engine, LogQuery
from skerry.identity.client import Identity, IdentityClient
from skerry.workloads.api import VERSIONS, guarded
from skerry.workloads.bundle import SupportBundles
from skerry.workloads.callers import Callers
from skerry.workloads.deployment import Deployment
from skerry.workloads.errors import WorkloadsError
from skerry.workloads.keyring import Keyring
from skerry.workloads.logs import while_reader_lives
from skerry.workloads.model import ModuleSpec, details, parse_spec
from skerry.workloads.modules import Modules
from skerry.workloads.settings import Settings
from skerry.workloads.systeminfo import resources, server_version, system_info
from skerry.workloads.times import point_in_time

_PREPARE_SINCE = "2019-01-30"
_ANSWER_FIRST_SECONDS = 1.0
_NEWS_SECONDS = 20.0
_ACTIONS = ("rollback", "retry")


class ManagementApi:
    """Answers the routes of the management API."""

    def __init__(
        self,
        modules: Modules,
        engine: Engine,
        callers: Callers,
        identities: IdentityClient,
        keyring: Keyring,
        deployment: Deployment,
        settings: Settings,
        clock: Clock,
        log: Logger,
        reprovision: Callable[[], None],
        bundles: SupportBundles,
    ) -> None:
        self._modules = modules
        self._engine = engine
        self._callers = callers
        self._identities = identities
        self._keyring = keyring
        self._deployment = deployment
        self._settings = settings
        self._clock = clock
        self._log = log
        self._reprovision = reprovision
        self._bundles = bundles

    def router(self) -> Router:
        """Return the routes of mgmt.sock."""
        return self._routes(self._open)

    def agent_router(self) -> Router:
        """Return the same routes for the agent's own socket, all of them closed to others."""
        return self._routes(self._agent)

    def _routes(
        self, readable: Callable[[Callable[..., Response]], Callable[..., Response]]
    ) -> Router:
        router, agent = Router(VERSIONS), self._agent
        router.add("GET", "/modules", readable(self._list))
        router.add("POST", "/modules", agent(self._create))
        router.add("GET", "/modules/{name}", readable(self._get))
        router.add("PUT", "/modules/{name}", agent(self._replace))
        router.add("DELETE", "/modules/{name}", agent(self._remove))
        router.add("GET", "/modules/{name}/logs", readable(self._logs))
        router.add("POST", "/modules/{name}/{action}", readable(self._act))
        router.add("GET", "/identities", readable(self._list_identities))
        router.add("POST", "/identities", agent(self._create_identity))
        router.add("PUT", "/identities/{module}", agent(self._update_identity))
        router.add("DELETE", "/identities/{module}", agent(self._delete_identity))
        router.add("GET", "/systeminfo", readable(self._system_info))
        router.add("GET", "/systeminfo/resources", readable(self._resources), since="2019-11-05")
        router.add("GET", "/systeminfo/supportbundle", readable(self._bundle), since="2020-07-07")
        router.add("POST", "/device/reprovision", agent(self._reprovisioned), since="2019-10-22")
        router.add("GET", "/deployment", agent(self._get_deployment))
        router.add("GET", "/deployment/news", agent(self._news))
        router.add("GET", "/deployment/status", readable(self._get_report))
        router.add("PUT", "/deployment/status", agent(self._put_report))
        router.add("PUT", "/deployment", readable(self._apply_deployment))
        router.add("GET", "/deployment/history", readable(self._get_history))
        router.add("PUT", "/deployment/history", agent(self._put_history))
        router.add("GET", "/deployment/request", agent(self._get_request))
        router.add("POST", "/deployment/request", readable(self._ask))
        return router

    def _open(self, handler: Callable[..., Response]) -> Callable[..., Response]:
        return guarded(handler, self._log)

    def _agent(self, handler: Callable[..., Response]) -> Callable[..., Response]:
        def call(request: Request, **parameters: str) -> Response:
            self._callers.require_agent(request)
            return handler(request, **parameters)

        return guarded(call, self._log)

    def _list(self, _request: Request) -> Response:
        return Response.json({"modules": [details(module) for module in self._modules.all()]})

    def _get(self, _request: Request, name: str) -> Response:
        return Response.json(details(self._modules.get(name)))

    def _create(self, request: Request) -> Response:
        return Response.json(details(self._modules.create(parse_spec(request.json_object()))), 201)

    def _replace(self, request: Request, name: str) -> Response:
        spec = _spec_for(request, name)
        start = request.query.get("start", "false").lower() == "true"
        if name != self._settings.agent.name:
            return Response.json(details(self._modules.replace(spec, start=start)), 201)
        # the caller is the container that goes: it gets its answer first
        self._modules.prepare(spec)
        present = details(self._modules.get(name))
        threading.Timer(_ANSWER_FIRST_SECONDS, self._replace_agent, [spec, start]).start()
        return Response.json(present, 201)

    def _replace_agent(self, spec: ModuleSpec, start: bool) -> None:
        try:
            self._modules.replace(spec, start=start)
        except (EngineError, WorkloadsError, HttpError) as error:
            self._log.error("agent not replaced", image=spec.image, reason=error)

    def _remove(self, _request: Request, name: str) -> Response:
        self._modules.remove(name)
        return Response.empty()

    def _act(self, request: Request, name: str, action: str) -> Response:
        match action.lower():
            case "start":
                self._modules.start(name)
            case "stop":
                self._modules.stop(name)
            case "restart":
                self._modules.restart(name)
            case "prepareupdate" if request.api_version >= _PREPARE_SINCE:
                self._callers.require_agent(request)
                self._modules.rehearse(_spec_for(request, name))
            case _:
                raise HttpError(404, "not found")
        return Response.empty()

    def _logs(self, request: Request, name: str) -> Response:
        query = self._log_query(request)
        stream = self._modules.logs(name, query)
        return Response.stream(while_reader_lives(stream, request.peer), "text/plain")

    def _log_query(self, request: Request) -> LogQuery:
        query, now = request.query, self._clock.now()
        tail = query.get("tail", "all")
        if tail != "all" and not tail.isdecimal():
            raise HttpError(400, f"tail is {tail!r}, expected 'all' or a number")
        try:
            since, until = (
                point_in_time(query[name], now) if name in query else None
                for name in ("since", "until")
            )
        except ValueError as error:
            raise HttpError(400, str(error)) from error
        return LogQuery(
            follow=query.get("follow", "false").lower() == "true",
            tail=None if tail == "all" else int(tail),
            since=since,
            until=until,
            timestamps=query.get("timestamps", "false").lower() == "true",
        )

    def _list_identities(self, _request: Request) -> Response:
        return Response.json({"identities": [_identity(i) for i in self._identities.modules()]})

    def _create_identity(self, request: Request) -> Response:
        module = text(request.json_object(), "moduleId")
        return Response.json(_identity(self._identities.create_module(module)))

    def _update_identity(self, request: Request, module: str) -> Response:
        request.json_object()
        self._keyring.forget(module)
        return Response.json(_identity(self._identities.update_module(module)))

    def _delete_identity(self, _request: Request, module: str) -> Response:
        self._keyring.forget(module)
        self._identities.delete_module(module)
        return Response.empty()

    def _system_info(self, _request: Request) -> Response:
        version = server_version(self._engine)
        return Response.json(system_info(version, self._settings.additional_info))

    def _resources(self, _request: Request) -> Response:
        running = [module.name for module in self._modules.all() if module.state.running]
        return Response.json(resources(self._engine, running))

    def _bundle(self, request: Request) -> Response:
        return Response.stream(self._bundles.stream(request.query), "application/zip")

    def _reprovisioned(self, _request: Request) -> Response:
        self._reprovision()
        return Response.empty()

    def _get_deployment(self, _request: Request) -> Response:
        found = self._deployment.read()
        if found is None:
            raise HttpError(404, "there is no deployment; make one with: skerry config apply")
        return Response.json(found)

    def _news(self, request: Request) -> Response:
        after = request.query.get("after", "")
        return Response.json({"state": self._deployment.news(after, _NEWS_SECONDS)})

    def _apply_deployment(self, request: Request) -> Response:
        if request.peer.uid != 0:
            raise HttpError(403, "a deployment is applied by root only; run it with sudo")
        self._deployment.apply(request.json_object())
        return Response.empty()

    def _get_history(self, _request: Request) -> Response:
        history = self._deployment.history()
        if history is None:
            raise HttpError(404, "the edge agent has not reported yet")
        return Response.json(history)

    def _put_history(self, request: Request) -> Response:
        self._deployment.put_history(request.json_object())
        return Response.empty()

    def _get_request(self, _request: Request) -> Response:
        asked = self._deployment.request()
        if asked is None:
            raise HttpError(404, "nobody has asked for anything")
        return Response.json(asked)

    def _ask(self, request: Request) -> Response:
        action = text(request.json_object(), "action")
        if action not in _ACTIONS:
            raise HttpError(400, f"action is {action!r}, expected 'rollback' or 'retry'")
        return Response.json(self._deployment.ask(action))

    def _get_report(self, _request: Request) -> Response:
        report = self._deployment.report()
        if report is None:
            raise HttpError(404, "the edge agent has not reported yet")
        return Response.json(report)

    def _put_report(self, request: Request) -> Response:
        self._deployment.put_report(request.json_object())
        return Response.empty()


def _spec_for(request: Request, name: str) -> ModuleSpec:
    spec = parse_spec(request.json_object())
    if spec.name != name:
        raise HttpError(400, f"the body is for module {spec.name!r}, the path for {name!r}")
    return spec


def _identity(identity: Identity) -> dict[str, object]:
    return {
        "moduleId": identity.module_id,
        "managedBy": "iotedge",
        "generationId": identity.generation_id,
        "authType": "sas",
    }
