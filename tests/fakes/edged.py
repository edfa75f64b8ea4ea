"""edged as the agent meets it: the management API on a unix socket, with modules that do not run.

Time is the test's own: what starts, starts at `clock.now()`. A test makes modules end, images go
missing, and whole calls fail.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from skerry.base.clock import SystemClock
from skerry.base.http import HttpError, Request, Response, Router
from skerry.base.log import get_logger
from skerry.base.server import Listener, Server
from skerry.base.sockets import bind_unix

VERSION = "2022-08-03"


@dataclass
class VirtualClock:
    """Time that moves when a test says so."""

    moment: datetime = datetime(2026, 6, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass
class Module:
    """A container; `status` is the management API's word."""

    spec: dict[str, Any]
    status: str = "stopped"
    started: datetime | None = None
    exited: datetime | None = None
    exit_code: int = 0

    @property
    def env(self) -> dict[str, str]:
        return {entry["key"]: entry["value"] for entry in self.spec["config"]["env"]}

    @property
    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = self.spec["config"]["settings"]["createOptions"]
        return options


@dataclass
class FakeEdged:
    """The state behind the socket; `calls` are the changes asked for, such as `create sensor`."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    deployment: object | None = None
    modules: dict[str, Module] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    reports: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    missing_images: set[str] = field(default_factory=set)
    foreign_images: set[str] = field(default_factory=set)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Call -> status and message; `*` refuses every call."""
    generations: int = 0
    request: dict[str, str] | None = None
    transactions: list[dict[str, Any]] = field(default_factory=list)
    logs: dict[str, bytes] = field(default_factory=dict)
    crashing_images: set[str] = field(default_factory=set)
    """Images whose containers end with 1 as soon as they start."""
    fetched: list[str] = field(default_factory=list)
    secrets: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def serving(self, socket_path: Path) -> Iterator[None]:
        """Serve the management API on a socket."""
        listener = Listener("mgmt", bind_unix(socket_path, mode=0o600), self.router())
        server = Server([listener], clock=SystemClock(), log=get_logger("fake-edged"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield
        finally:
            server.stop()
            thread.join()
            socket_path.unlink(missing_ok=True)

    def router(self) -> Router:
        router = Router([VERSION])
        router.add("GET", "/deployment", self._get_deployment)
        router.add("PUT", "/deployment/status", self._put_report)
        router.add("PUT", "/deployment", self._apply)
        router.add("GET", "/deployment/news", self._news)
        router.add("GET", "/deployment/status", self._get_report)
        router.add("GET", "/deployment/history", self._get_transaction)
        router.add("GET", "/deployment/request", self._get_request)
        router.add("POST", "/deployment/request", self._ask)
        router.add("PUT", "/deployment/history", self._put_transaction)
        router.add("GET", "/modules/{name}/logs", self._get_logs)
        router.add("GET", "/modules", self._list)
        router.add("POST", "/modules", self._create)
        router.add("PUT", "/modules/{name}", self._replace)
        router.add("DELETE", "/modules/{name}", self._remove)
        router.add("POST", "/modules/{name}/{action}", self._act)
        router.add("GET", "/secrets", lambda _: Response.json({"secrets": self.secrets}))
        router.add("POST", "/identities", self._create_identity)
        router.add("DELETE", "/identities/{name}", self._delete_identity)
        return router

    def add_agent(self) -> Module:
        """Show the agent's own container, as edged does."""
        settings = {"image": "agent:1", "createOptions": {}}
        spec = {"name": "edgeAgent", "config": {"settings": settings, "env": []}}
        self.modules["edgeAgent"] = Module(spec, "running", self.clock.now())
        return self.modules["edgeAgent"]

    def ends(self, name: str, code: int) -> None:
        """Let a module end by itself."""
        module = self.modules[name]
        module.status = "failed" if code else "stopped"
        module.exit_code, module.exited = code, self.clock.now()

    def reboots(self) -> None:
        """End all modules as a machine that goes down does."""
        for name, module in self.modules.items():
            if module.status == "running":
                self.ends(name, 255)

    def _called(self, call: str) -> None:
        self.calls.append(call)
        refusal = self.refusals.get(call) or self.refusals.get("*")
        if refusal is not None:
            raise HttpError(*refusal)

    def _get_deployment(self, _request: Request) -> Response:
        if "*" in self.refusals:
            raise HttpError(*self.refusals["*"])
        if self.deployment is None:
            raise HttpError(404, "there is no deployment")
        return Response.json(self.deployment)

    def _put_report(self, request: Request) -> Response:
        self.reports.append(request.json_object())
        return Response.empty()

    def _apply(self, request: Request) -> Response:
        self.deployment = request.json_object()
        return Response.empty()

    def _news(self, request: Request) -> Response:
        """Answer when the deployment is another one, or after some time, as edged does."""
        deadline = time.monotonic() + 5
        while str(id(self.deployment)) == request.query["after"] and time.monotonic() < deadline:
            time.sleep(0.02)
        return Response.json({"state": str(id(self.deployment))})

    def _get_report(self, _request: Request) -> Response:
        if not self.reports:
            raise HttpError(404, "the agent has not reported")
        return Response.json(self.reports[-1])

    def _get_transaction(self, _request: Request) -> Response:
        if not self.transactions:
            raise HttpError(404, "there is no history")
        return Response.json(self.transactions[-1])

    def _ask(self, request: Request) -> Response:
        self.generations += 1
        action = str(request.json_object()["action"])
        self.request = {"id": str(self.generations), "action": action}
        return Response.json(self.request)

    def _get_request(self, _request: Request) -> Response:
        if self.request is None:
            raise HttpError(404, "nobody asked for anything")
        return Response.json(self.request)

    def _put_transaction(self, request: Request) -> Response:
        self.transactions.append(request.json_object())
        return Response.empty()

    def _get_logs(self, _request: Request, name: str) -> Response:
        self._known(name)
        return Response.stream(iter([self.logs.get(name, b"")]), "text/plain")

    def _list(self, _request: Request) -> Response:
        found = [_details(name, module) for name, module in sorted(self.modules.items())]
        return Response.json({"modules": found})

    def _create(self, request: Request) -> Response:
        spec = request.json_object()
        name = str(spec["name"])
        self._called(f"create {name}")
        if name in self.modules:
            raise HttpError(409, f"the name {name!r} is taken")
        self._make(name, spec)
        return Response.json(_details(name, self.modules[name]), 201)

    def _replace(self, request: Request, name: str) -> Response:
        self._called(f"replace {name}")
        self._make(name, request.json_object())
        if request.query.get("start") == "true":
            self._start(name)
        return Response.json(_details(name, self.modules[name]), 201)

    def _make(self, name: str, spec: dict[str, Any]) -> None:
        image = spec["config"]["settings"]["image"]
        if image in self.missing_images:
            raise HttpError(404, f"image {image!r} is not there")
        self.modules[name] = Module(spec)

    def _remove(self, _request: Request, name: str) -> Response:
        self._called(f"remove {name}")
        self._known(name)
        del self.modules[name]
        return Response.empty()

    def _act(self, request: Request, name: str, action: str) -> Response:
        if action == "prepareupdate":
            spec: dict[str, Any] = request.json_object()
            image = spec["config"]["settings"]["image"]
            if image in self.missing_images:
                raise HttpError(404, f"image {image!r} is not there")
            if image in self.foreign_images:
                raise HttpError(422, f"image {image!r} is for arm64, this machine is amd64")
            self.fetched.append(image)
            return Response.empty()
        self._called(f"{action} {name}")
        self._known(name)
        if action == "start":
            self._start(name)
        else:
            self.ends(name, 0)
        return Response.empty()

    def _start(self, name: str) -> None:
        module = self.modules[name]
        if module.status != "running":
            module.status, module.started = "running", self.clock.now()
            if module.spec["config"]["settings"]["image"] in self.crashing_images:
                self.ends(name, 1)

    def _known(self, name: str) -> None:
        if name not in self.modules:
            raise HttpError(404, f"no module {name!r}")

    def _create_identity(self, request: Request) -> Response:
        identity = str(request.json_object()["moduleId"])
        if identity not in self.identities:
            self.generations += 1
            self.identities[identity] = str(self.generations)
        fields = {"managedBy": "iotedge", "authType": "sas"}
        generation = self.identities[identity]
        return Response.json({"moduleId": identity, "generationId": generation, **fields})

    def _delete_identity(self, _request: Request, name: str) -> Response:
        if self.identities.pop(name, None) is None:
            raise HttpError(404, f"no identity {name!r}")
        return Response.empty()


def _details(name: str, module: Module) -> dict[str, object]:
    status: dict[str, object] = {"runtimeStatus": {"status": module.status, "description": ""}}
    if module.started is not None:
        status["startTime"] = _rfc3339(module.started)
    if module.exited is not None:
        status["exitStatus"] = {
            "exitTime": _rfc3339(module.exited),
            "statusCode": str(module.exit_code),
        }
    settings = {
        "image": module.spec["config"]["settings"]["image"],
        "imageHash": "sha256:0",
        "createOptions": {"Labels": module.options.get("Labels", {})},
    }
    config = {"settings": settings, "env": []}
    return {"id": "id", "name": name, "type": "docker", "config": config, "status": status}


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
