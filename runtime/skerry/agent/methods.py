"""The built-in direct methods of `$edgeAgent`: ping, RestartModule, GetModuleLogs.

Source: azure-iot-edge.md §5.6. Names count without case. What a caller got wrong is 400, what went
wrong here 500, both with `{"message"}`.
"""

import base64
import gzip
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from skerry.base.errors import SkerryError
from skerry.base.frames import split_frames

_MAX_BYTES = 127_000
_MAX_TAIL = 100_000
_DEFAULT_TAIL = "1000"


class ModuleCalls(Protocol):
    """What the methods ask of edged."""

    def names(self) -> list[str]: ...
    def act(self, name: str, action: str) -> None: ...
    def tail(self, name: str, query: Mapping[str, str]) -> Iterable[bytes]: ...


class MethodError(SkerryError):
    """A call that cannot be understood."""


class BuiltIn:
    """Runs the methods; to be called from any thread."""

    def __init__(self, edged: ModuleCalls) -> None:
        self._edged = edged
        self._methods: Mapping[str, Callable[[Mapping[str, object]], object]] = {
            "ping": lambda _request: None,
            "restartmodule": self._restart,
            "getmodulelogs": self._logs,
        }

    def __call__(self, name: str, payload: bytes) -> tuple[int, bytes]:
        """Return status and payload."""
        try:
            answer = self._run(name.lower(), payload)
        except MethodError as error:
            return 400, json.dumps({"message": str(error)}).encode()
        except SkerryError as error:
            return 500, json.dumps({"message": str(error)}).encode()
        return 200, b"null" if answer is None else json.dumps(answer).encode()

    def _run(self, name: str, payload: bytes) -> object:
        method = self._methods.get(name)
        if method is None:
            known = "ping, RestartModule, GetModuleLogs"
            raise MethodError(f"method {name!r} is not known; expected one of {known}")
        return method({} if name == "ping" else _object(payload))

    def _restart(self, request: Mapping[str, object]) -> None:
        _check_schema(request)
        name = request.get("id")
        if not isinstance(name, str) or not name:
            raise MethodError(f"id is {name!r}, expected the name of a module")
        self._edged.act(name, "restart")

    def _logs(self, request: Mapping[str, object]) -> list[dict[str, object]]:
        _check_schema(request)
        encoding, content = request.get("encoding", "none"), request.get("contentType", "text")
        if encoding not in ("none", "gzip"):
            raise MethodError(f"encoding is {encoding!r}, expected 'none' or 'gzip'")
        if content != "text":
            raise MethodError(f"contentType is {content!r}, expected 'text'")
        items = request.get("items")
        found, size = [], 0
        for name, query in self._chosen(items if isinstance(items, list) else [items]):
            text = b"".join(data for _, data in split_frames(self._edged.tail(name, query)))
            packed = gzip.compress(text) if encoding == "gzip" else text
            size += len(packed)
            if size > _MAX_BYTES:
                raise MethodError(f"logs have more than {_MAX_BYTES} bytes; ask for a smaller tail")
            entry: dict[str, object] = {"id": name, "payloadBytes": None, "payload": None}
            if encoding == "gzip":
                entry["payloadBytes"] = base64.b64encode(packed).decode()
            else:
                entry["payload"] = text.decode(errors="replace")
            found.append(entry)
        return found

    def _chosen(self, items: list[object]) -> Iterable[tuple[str, dict[str, str]]]:
        """Yield each module with the options of the first item that names it."""
        patterns = [_item(item) for item in items]
        for name in self._edged.names():
            for pattern, query in patterns:
                if pattern.search(name):
                    yield name, query
                    break


def _item(item: object) -> tuple[re.Pattern[str], dict[str, str]]:
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        raise MethodError('items holds what has no "id", expected the name of a module or "all"')
    text = ".*" if item["id"] == "all" else item["id"]
    try:
        pattern = re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise MethodError(f"id {text!r} is not a regular expression: {error}") from error
    given = item.get("filter")
    given = given if isinstance(given, dict) else {}
    unknown = sorted(set(given) - {"tail", "since", "until"})
    if unknown:
        raise MethodError(f"filter {unknown[0]!r} is not known; expected tail, since or until")
    tail = given.get("tail", int(_DEFAULT_TAIL))
    if not isinstance(tail, int) or not 0 < tail <= _MAX_TAIL:
        raise MethodError(f"tail is {tail!r}, expected 1 to {_MAX_TAIL}")
    times = {name: str(given[name]) for name in ("since", "until") if given.get(name)}
    return pattern, {"tail": str(tail), **times}


def _check_schema(request: Mapping[str, object]) -> None:
    version = request.get("schemaVersion")
    if not isinstance(version, str) or not re.fullmatch(r"1\.\d+", version):
        raise MethodError(f"schemaVersion is {version!r}, expected '1.0'")


def _object(payload: bytes) -> Mapping[str, object]:
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise MethodError(f"the payload is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise MethodError(f"the payload is {type(found).__name__}, expected an object")
    return found
