"""Requests, answers and routes of HTTP APIs, without any socket.

Paths are matched as sent and their parameters percent-decoded afterwards, so that an id may hold a
slash or a `$`; `{name*}` takes the rest of a path, slashes and all. Several APIs share one port:
their paths differ, so one list of routes is enough.
"""

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote


@dataclass(frozen=True)
class Request:
    """One request.

    `path` is as sent, header names are lower case, `certificates` is the chain that the client
    showed in the handshake (DER, leaf first): possession of the leaf's key is proven, nothing else.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    certificates: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A status with a body, JSON unless a header says otherwise."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def json(
        value: object, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> "Answer":
        body = json.dumps(value, separators=(",", ":")).encode()
        return Answer(
            status, body, {"content-type": "application/json; charset=utf-8", **(headers or {})}
        )


@dataclass(frozen=True)
class Stream:
    """An answer whose body goes on: each chunk is sent as it comes, until the client has gone."""

    chunks: AsyncGenerator[bytes, None]
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


Handler = Callable[..., Answer]
LiveHandler = Callable[..., Awaitable[Answer | Stream]]
H = TypeVar("H")


@dataclass(frozen=True)
class _AnyRoute(Generic[H]):
    method: str
    path: str
    handler: H


class Route(_AnyRoute[Handler]):
    """A method and a path such as `/devices/{device_id}`, answered by `handler(request, **ids)`.

    The handler runs where the API's data are, the lab's on its database's thread.
    """


class LiveRoute(_AnyRoute[LiveHandler]):
    """The same for a handler that runs on the server's loop: it may wait, and may not block."""


class Router(Generic[H]):
    """Finds the handler of a request."""

    def __init__(self, routes: Sequence[_AnyRoute[H]]) -> None:
        self._routes = [(_pattern(route.path), route) for route in routes]

    def find(self, request: Request) -> tuple[H, dict[str, str]] | None:
        """Return handler and decoded path parameters, None when no route has path and method."""
        for pattern, route in self._routes:
            if route.method == request.method and (match := pattern.fullmatch(request.path)):
                return route.handler, {k: unquote(v) for k, v in match.groupdict().items()}
        return None

    def knows(self, path: str) -> bool:
        """Tell whether some method exists at a path."""
        return any(pattern.fullmatch(path) for pattern, _ in self._routes)


def _pattern(path: str) -> re.Pattern[str]:
    def group(found: re.Match[str]) -> str:
        return f"(?P<{found[1]}>{'.+' if found[2] else '[^/]+'})"

    return re.compile(re.sub(r"\{(\w+)(\*?)\}", group, path.replace("$", r"\$")) + "/?")
