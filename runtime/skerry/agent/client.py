"""The agent's view of edged: deployment, modules, identities, report."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from skerry.agent.model import Actual, RuntimeStatus
from skerry.agent.spec import DIGEST_LABEL
from skerry.agent.transaction import Request
from skerry.base.client import ApiError, ServiceClient, UnreachableError
from skerry.base.frames import split_frames

_NOT_FOUND = 404
_TIMEOUT_SECONDS = 600
_AT_ONCE = 40
"""Of the 50 that the management API allows one user; the engine is what limits."""
_STATUS = {
    "running": RuntimeStatus.RUNNING,
    "stopped": RuntimeStatus.STOPPED,
    "failed": RuntimeStatus.FAILED,
    "dead": RuntimeStatus.DEAD,
}


class EdgedClient:
    """Calls the management API; raises ApiError and UnreachableError."""

    def __init__(self, socket_path: Path, api_version: str) -> None:
        self._service = ServiceClient(socket_path, api_version, _TIMEOUT_SECONDS, _AT_ONCE)

    def deployment(self) -> object | None:
        """Return the deployment manifest, None when the device has none."""
        try:
            return self._service.get("/deployment")
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def news(self, after: str) -> str:
        """Wait, some 20 s, for another deployment or request; returns what to ask with next."""
        answer = self._service.get("/deployment/news", {"after": after})
        return str(_object(answer).get("state", ""))

    def modules(self) -> dict[str, Actual]:
        """Return all modules that edged knows, by name."""
        answer = self._service.get("/modules")
        entries = answer.get("modules") if isinstance(answer, dict) else None
        if not isinstance(entries, list):
            raise ApiError(500, "edged answered without 'modules'")
        found = [_actual(entry) for entry in entries]
        return {module.name: module for module in found}

    def create_identity(self, identity: str) -> str:
        """Return the generation id of a module's identity, made if absent."""
        answer = self._service.post("/identities", {"moduleId": identity})
        if not isinstance(answer, dict) or "generationId" not in answer:
            raise ApiError(500, "edged answered without an identity")
        return str(answer["generationId"])

    def delete_identity(self, identity: str) -> None:
        """Remove a module's identity."""
        self._service.delete(f"/identities/{quote(identity, safe='')}")

    def create(self, spec: Mapping[str, object], *, exists: bool, start: bool) -> None:
        """Create a container, or replace the one there is, once its image has been fetched."""
        name = str(spec["name"])
        if exists:
            query = {"start": "true" if start else "false"}
            self._service.put(_path(name), dict(spec), query)
            return
        self._service.post("/modules", dict(spec))
        if start:
            self.act(name, "start")

    def act(self, name: str, action: str) -> None:
        """Start or stop a module."""
        self._service.post(f"{_path(name)}/{action}")

    def remove(self, name: str) -> None:
        """Remove a container, killing what still runs in it."""
        self._service.delete(_path(name))

    def prepare(self, spec: Mapping[str, object]) -> None:
        """Fetch a module's image and touch nothing else."""
        self._service.post(f"{_path(str(spec['name']))}/prepareupdate", dict(spec))

    def logs(self, name: str, since: datetime | None) -> Iterator[bytes]:
        """Yield a module's output since a time."""
        query = {} if since is None else {"since": str(int(since.timestamp()))}
        return (data for _, data in split_frames(self.tail(name, query)))

    def tail(self, name: str, query: Mapping[str, str]) -> Iterator[bytes]:
        """Yield a module's output in Docker's frames, as the query chooses."""
        return self._service.stream(f"{_path(name)}/logs", dict(query))

    def support_bundle(self, query: Mapping[str, str]) -> Iterator[bytes]:
        """Yield the archive that a technician wants."""
        return self._service.stream("/systeminfo/supportbundle", dict(query))

    def resources(self) -> Mapping[str, object]:
        """Return what is in use of the machine and by modules; empty while edged is away."""
        try:
            return _object(self._service.get("/systeminfo/resources"))
        except (ApiError, UnreachableError):
            return {}

    def host(self) -> Mapping[str, object]:
        """Return what the machine is; empty while edged is away."""
        try:
            return _object(self._service.get("/systeminfo"))
        except (ApiError, UnreachableError):
            return {}

    def names(self) -> list[str]:
        """Return the names of all modules."""
        return sorted(self.modules())

    def request(self) -> Request | None:
        """Return what a person last asked for, None when nobody did."""
        try:
            answer = self._service.get("/deployment/request")
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        table = _object(answer)
        return Request(str(table.get("id", "")), str(table.get("action", "")))

    def tell(self, transaction: Mapping[str, object]) -> None:
        """Hand over where the deployment has got to, and the history."""
        self._service.put("/deployment/history", dict(transaction))

    def report(self, properties: Mapping[str, object]) -> None:
        """Hand over the reported properties."""
        self._service.put("/deployment/status", dict(properties))


def _path(name: str) -> str:
    return f"/modules/{quote(name, safe='')}"


def _actual(entry: Mapping[str, object]) -> Actual:
    status = _object(entry.get("status"))
    running = _object(status.get("runtimeStatus"))
    ended = _object(status.get("exitStatus"))
    settings = _object(_object(entry.get("config")).get("settings"))
    digest = _object(_object(settings.get("createOptions")).get("Labels")).get(DIGEST_LABEL)
    code = ended.get("statusCode")
    return Actual(
        name=str(entry["name"]),
        image=str(settings.get("image", "")),
        status=_STATUS.get(str(running.get("status")), RuntimeStatus.UNKNOWN),
        exit_code=None if code is None else int(str(code)),
        started=_time(status.get("startTime")),
        exited=_time(ended.get("exitTime")),
        description=str(running.get("description") or ""),
        image_id=str(settings.get("imageHash") or ""),
        digest=digest if isinstance(digest, str) else None,
        health=str(running.get("health") or ""),
    )


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _time(value: object) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None
