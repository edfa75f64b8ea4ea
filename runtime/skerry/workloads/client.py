"""Calls to edged's management API, typed. Only the standard library: containers carry it too."""

import base64
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from skerry.base.client import ApiError, ServiceClient

_VERSION = "2022-08-03"
_SECONDS = 300
"""A container may take its time to stop, an image to arrive."""

_FOLLOW_SECONDS = 366 * 86400
"""A followed log may stay silent for as long as it likes."""

_NOT_FOUND = 404


class ManagementClient:
    """Asks one edged; raises ApiError and UnreachableError."""

    def __init__(self, socket_path: Path, seconds: float = _SECONDS) -> None:
        self._service = ServiceClient(socket_path, _VERSION, seconds)
        self._patient = ServiceClient(socket_path, _VERSION, _FOLLOW_SECONDS)

    def modules(self) -> list[dict[str, object]]:
        """Return ModuleDetails of every module."""
        answer = self._service.get("/modules")
        modules = answer.get("modules") if isinstance(answer, dict) else None
        if not isinstance(modules, list):
            raise TypeError("edged answered without 'modules'")
        return modules

    def restart(self, module: str) -> None:
        self._service.post(f"{_path(module)}/restart")

    def stop(self, module: str) -> None:
        self._service.post(f"{_path(module)}/stop")

    def logs(
        self,
        module: str,
        *,
        follow: bool = False,
        tail: str = "all",
        since: str | None = None,
        until: str | None = None,
        timestamps: bool = False,
    ) -> Iterator[bytes]:
        """Yield a module's output in Docker's frames."""
        query = {"follow": str(follow).lower(), "tail": tail, "timestamps": str(timestamps).lower()}
        query |= {} if since is None else {"since": since}
        query |= {} if until is None else {"until": until}
        service = self._patient if follow else self._service
        return service.stream(f"{_path(module)}/logs", query)

    def deployment_status(self) -> dict[str, object] | None:
        """Return what the agent last reported; None before it did."""
        try:
            answer = self._service.get("/deployment/status")
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        return answer if isinstance(answer, dict) else None

    def deployment_history(self) -> dict[str, object] | None:
        """Return where the deployment has got to, and its history; None before the agent said."""
        try:
            answer = self._service.get("/deployment/history")
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        return answer if isinstance(answer, dict) else None

    def secrets(self) -> list[dict[str, object]]:
        """Return every secret as `GET /secrets` has it, never a value."""
        answer = self._service.get("/secrets")
        secrets = answer.get("secrets") if isinstance(answer, dict) else None
        if not isinstance(secrets, list):
            raise TypeError("edged answered without 'secrets'")
        return secrets

    def set_secret(self, name: str, value: bytes) -> None:
        """Give a secret a value, which running modules get at once."""
        body: dict[str, object] = {"value": base64.b64encode(value).decode("ascii")}
        self._service.put(f"/secrets/{quote(name, safe='')}", body)

    def remove_secret(self, name: str) -> None:
        """Take back a value that was set."""
        self._service.delete(f"/secrets/{quote(name, safe='')}")

    def ask_agent(self, action: str) -> None:
        """Leave a request for the agent: `rollback` or `retry`."""
        self._service.post("/deployment/request", {"action": action})

    def apply_deployment(self, document: dict[str, object]) -> None:
        """Put a manifest in the place of the configuration's, until that one changes."""
        self._service.put("/deployment", document)


def _path(module: str) -> str:
    return f"/modules/{quote(module, safe='')}"
