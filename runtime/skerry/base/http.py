"""Requests, responses and routes of the local APIs, without any socket.

The rules are the ones that all of Azure IoT Edge's local services share: `api-version` is required,
a route exists from a minimum version on, a known path with another verb answers 400, a body of the
wrong shape 422, and every error is `{"message": …}`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from skerry.base.errors import SkerryError
from skerry.base.peer import Peer


class HttpError(SkerryError):
    """An answer other than success, with the message for the caller."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Request:
    """One request; `endpoint` names the listener it came through, header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    peer: Peer
    endpoint: str
    api_version: str = ""

    def json(self) -> object:
        """Parse the body; an absent Content-Type counts as JSON, as the Python SDK sends none."""
        content_type = (
            self.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        )
        if content_type != "application/json":
            if self.method == "PUT":
                raise HttpError(
                    415, f"content-type {content_type!r} is not supported; send 'application/json'"
                )
            return None
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise HttpError(422, f"the body is not JSON: {error}") from error

    def json_object(self) -> dict[str, object]:
        """Parse the body, which has to be a JSON object."""
        value = self.json()
        if not isinstance(value, dict):
            raise HttpError(422, f"the body is {type(value).__name__}, expected a JSON object")
        return value


@dataclass(frozen=True)
class Response:
    """An answer: `body`, or `chunks` for one whose length is not known beforehand."""

    status: int
    body: bytes = b""
    content_type: str = ""
    chunks: Iterator[bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def json(value: object, status: int = 200) -> "Response":
        body = json.dumps(value, separators=(",", ":")).encode()
        return Response(status, body, "application/json")

    @staticmethod
    def empty(status: int = 204) -> "Response":
        return Response(status)

    @staticmethod
    def stream(chunks: Iterator[bytes], content_type: str) -> "Response":
        return Response(200, b"", content_type, chunks)

    @staticmethod
    def error(status: int, message: str) -> "Response":
        return Response.json({"message": message}, status)


Handler = Callable[..., Response]


@dataclass(frozen=True)
class _Route:
    method: str
    pattern: re.Pattern[str]
    handler: Handler
    since: str


class Router:
    """Finds the handler of a request and calls it with the path's parameters, percent-decoded.

    `versions` are the api-versions served, in any order (they are dates, so they sort as text).
    """

    def __init__(self, versions: Sequence[str]) -> None:
        self._versions = sorted(versions)
        self._routes: list[_Route] = []

    def add(self, method: str, path: str, handler: Handler, *, since: str = "") -> None:
        """Add a route such as `/modules/{name}/start`; it exists from api-version `since` on."""
        expression = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path.replace("$", r"\$"))
        self._routes.append(_Route(method, re.compile(expression + "/?"), handler, since))

    def handle(self, request: Request) -> Response:
        """Answer a request; raises HttpError for what the caller did wrong."""
        version = request.query.get("api-version", "")
        if version not in self._versions:
            known = ", ".join(self._versions)
            raise HttpError(400, f"api-version {version!r} is not known; expected one of {known}")
        at_path = [
            (route, match)
            for route in self._routes
            if route.since <= version and (match := route.pattern.fullmatch(request.path))
        ]
        if not at_path:
            raise HttpError(404, "not found")
        for route, match in at_path:
            if route.method == request.method:
                versioned = Request(**{**request.__dict__, "api_version": version})
                return route.handler(
                    versioned, **{k: unquote(v) for k, v in match.groupdict().items()}
                )
        raise HttpError(400, "method not allowed")
