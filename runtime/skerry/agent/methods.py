"""The built-in direct methods of `$edgeAgent`.

Source: azure-iot-edge.md §5.6. Names count without case. What a caller got wrong is 400, what went
wrong here 500, both with `{"message"}`. Uploads are answered at once and go on as tasks.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from skerry.agent.blobs import BlobContainer, Uploader, container_at
from skerry.agent.errors import MethodError
from skerry.agent.log_lines import Source, render
from skerry.agent.log_request import (
    Content,
    Encoding,
    LogRequest,
    Selection,
    check_schema,
    parse_log_request,
)
from skerry.agent.tasks import Task, Tasks
from skerry.base.clock import Clock
from skerry.base.errors import SkerryError

MAX_ANSWER_BYTES = 127_000
_DEFAULT_TAIL = "1000"
_EVERYTHING = "all"


class ModuleCalls(Protocol):
    """What the methods ask of edged."""

    def names(self) -> list[str]: ...
    def act(self, name: str, action: str) -> None: ...
    def tail(self, name: str, query: Mapping[str, str]) -> Iterable[bytes]: ...
    def support_bundle(self, query: Mapping[str, str]) -> Iterable[bytes]: ...


@dataclass(frozen=True)
class Place:
    """Which device this is; `gateway` is its parent, empty without one."""

    hub: str
    device: str
    gateway: str = ""


class BuiltIn:
    """Runs the methods; to be called from any thread. `called` hears the name of each."""

    def __init__(
        self,
        edged: ModuleCalls,
        place: Place,
        tasks: Tasks,
        uploader: Uploader,
        clock: Clock,
        called: Callable[[str], None],
    ) -> None:
        self._edged = edged
        self._place = place
        self._tasks = tasks
        self._uploader = uploader
        self._clock = clock
        self._called = called
        self._methods: Mapping[str, Callable[[Mapping[str, object]], object]] = {
            "ping": lambda _request: None,
            "RestartModule": self._restart,
            "GetModuleLogs": self._logs,
            "UploadModuleLogs": self._upload_logs,
            "UploadSupportBundle": self._upload_bundle,
            "GetTaskStatus": self._status,
        }
        self._names = {name.lower(): name for name in self._methods}

    def __call__(self, name: str, payload: bytes) -> tuple[int, bytes]:
        """Return status and payload."""
        try:
            answer = self._run(name, payload)
        except MethodError as error:
            return 400, json.dumps({"message": str(error)}).encode()
        except SkerryError as error:
            return 500, json.dumps({"message": str(error)}).encode()
        return 200, b"null" if answer is None else json.dumps(answer).encode()

    def _run(self, asked: str, payload: bytes) -> object:
        name = self._names.get(asked.lower())
        if name is None:
            known = ", ".join(self._methods)
            raise MethodError(f"method {asked!r} is not known; expected one of {known}")
        self._called(name)
        if name == "ping":
            return None
        request = _object(payload)
        check_schema(request)
        return self._methods[name](request)

    def _restart(self, request: Mapping[str, object]) -> None:
        self._edged.act(_text(request, "id", "the name of a module"), "restart")

    def _logs(self, request: Mapping[str, object]) -> list[dict[str, object]]:
        asked = parse_log_request(request, _DEFAULT_TAIL)
        found: list[dict[str, object]] = []
        left = MAX_ANSWER_BYTES
        for name, selection in asked.chosen(self._edged.names()):
            data = _bounded(self._render(name, selection, asked), left)
            left -= len(data)
            is_packed = asked.form.encoding is Encoding.GZIP
            packed = base64.b64encode(data).decode() if is_packed else None
            text = None if is_packed else data.decode(errors="replace")
            found.append({"id": name, "payloadBytes": packed, "payload": text})
        return found

    def _upload_logs(self, request: Mapping[str, object]) -> dict[str, object]:
        container = container_at(request.get("sasUrl"), self._place.gateway)
        asked = parse_log_request(request, _EVERYTHING)
        chosen = list(asked.chosen(self._edged.names()))
        moment = self._clock.now()

        def work() -> None:
            for name, selection in chosen:
                blob = f"{name}-{_stamp(moment)}.{asked.form.extension}"
                self._upload(container, blob, self._render(name, selection, asked))

        return _told(self._tasks.begin(work))

    def _upload_bundle(self, request: Mapping[str, object]) -> dict[str, object]:
        container = container_at(request.get("sasUrl"), self._place.gateway)
        query = {name: _text(request, name, "a time") for name in ("since", "until")
                 if request.get(name) is not None}  # fmt: skip
        only = request.get("edgeRuntimeOnly")
        if not isinstance(only, bool | None):
            raise MethodError(f"edgeRuntimeOnly is {only!r}, expected true or false")
        query["edge_runtime_only"] = "true" if only else "false"
        query["iothub_hostname"] = self._place.hub
        blob = f"support-bundle-{_stamp(self._clock.now())}.zip"

        def work() -> None:
            self._upload(container, blob, self._edged.support_bundle(query))

        return _told(self._tasks.begin(work))

    def _status(self, request: Mapping[str, object]) -> dict[str, object]:
        return _told(self._tasks.find(_text(request, "correlationId", "that of an upload")))

    def _render(self, name: str, selection: Selection, asked: LogRequest) -> Iterator[bytes]:
        query = dict(selection.query)
        if asked.form.content is Content.JSON:
            query["timestamps"] = "true"
        source = Source(self._place.hub, self._place.device, name)
        return render(self._edged.tail(name, query), selection, asked.form, source)

    def _upload(self, container: BlobContainer, name: str, parts: Iterable[bytes]) -> None:
        self._uploader.upload(container, f"{self._place.hub}/{self._place.device}/{name}", parts)


def _bounded(parts: Iterable[bytes], most: int) -> bytes:
    data = bytearray()
    for part in parts:
        data += part
        if len(data) > most:
            raise MethodError(
                f"logs have more than {MAX_ANSWER_BYTES} bytes; "
                "ask for a smaller tail, or use UploadModuleLogs"
            )
    return bytes(data)


def _told(task: Task) -> dict[str, object]:
    return {"status": task.status.value, "message": task.message, "correlationId": task.id}


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d--%H-%M-%S")


def _text(request: Mapping[str, object], name: str, expected: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise MethodError(f"{name} is {value!r}, expected {expected}")
    return value


def _object(payload: bytes) -> Mapping[str, object]:
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise MethodError(f"the payload is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise MethodError(f"the payload is {type(found).__name__}, expected an object")
    return found
