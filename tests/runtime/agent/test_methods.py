"""The built-in direct methods, by name and payload."""

import base64
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fakes.blob_storage import BlobStorage, blob_storage
from fakes.edged import VirtualClock
from harness.agents import InlineExecutor
from skerry.agent.blobs import Uploader
from skerry.agent.methods import BuiltIn, Place
from skerry.agent.tasks import Tasks
from skerry.base.client import ApiError, UnreachableError
from skerry.base.frames import frame
from skerry.base.https import HttpsClient, trust_context
from skerry.base.log import get_logger

WARNED = "<4> 2026-06-01 11:59:58.000 +00:00 [WRN] - disk is filling\n"
LINES = (
    frame(1, WARNED.encode())
    + frame(1, b"plain line\n<3>an err")
    + frame(2, b"on the other stream\n")
    + frame(1, b"or\n")
)


class Calls:
    """An edged with two modules."""

    def __init__(self, output: bytes = b"") -> None:
        self.done: list[str] = []
        self.queries: list[Mapping[str, str]] = []
        self.output = output
        self.breaks_off = False

    def names(self) -> list[str]:
        return ["edgeHub", "sensor"]

    def act(self, name: str, action: str) -> None:
        if name not in self.names():
            raise ApiError(404, f"no module {name!r}")
        self.done.append(f"{action} {name}")

    def tail(self, name: str, query: Mapping[str, str]) -> Iterable[bytes]:
        self.queries.append(query)
        return [self.output or frame(1, f"{name} says\n".encode()) + frame(2, b"hello\n")]

    def support_bundle(self, query: Mapping[str, str]) -> Iterator[bytes]:
        self.queries.append(query)
        yield b"PK" + bytes(3 * 1024 * 1024)
        if self.breaks_off:
            raise UnreachableError("edged went away")


class Device:
    """The methods of a device; `pauses` are those before a retry."""

    def __init__(self, folder: Path, calls: Calls | None = None, root: str = "") -> None:
        self.calls = calls or Calls()
        self.pauses: list[float] = []
        self.names: list[str] = []
        context = trust_context([root] if root else [], system_roots=False)
        self.methods = BuiltIn(
            self.calls,
            Place("hub.example", "house-1", "localhost"),
            Tasks(folder, InlineExecutor(), get_logger("agent")),
            Uploader(lambda: HttpsClient(context), self.pauses.append),
            VirtualClock(),
            self.names.append,
        )

    def call(self, name: str, **request: object) -> tuple[int, Any]:
        status, answer = self.methods(
            name, json.dumps({"schemaVersion": "1.0", **request}).encode()
        )
        return status, json.loads(answer)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[BlobStorage]:
    with blob_storage(tmp_path) as running:
        yield running


@pytest.fixture
def uploading(tmp_path: Path, storage: BlobStorage) -> Callable[[Calls], Device]:
    """Return what makes a device that trusts the storage."""
    assert storage.served is not None
    root = storage.served.root_pem
    return lambda calls: Device(tmp_path, calls, root)


def test_ping_answers_whatever_it_is_sent(device: Device) -> None:
    """Names count without case; what was called is counted under upstream's spelling."""
    assert device.methods("PING", b"not json") == (200, b"null")
    assert device.names == ["ping"]


def test_a_module_is_restarted(device: Device) -> None:
    """One that is not there is 500, as upstream answers."""
    assert device.call("restartmodule", id="sensor") == (200, None)
    assert device.calls.done == ["restart sensor"]
    assert device.call("RestartModule", id="x") == (500, {"message": "no module 'x'"})


def test_logs_are_chosen_by_expression(device: Device) -> None:
    """With the options of the first item that names a module."""
    items = [{"id": "sens", "filter": {"tail": 5, "since": "1h"}}, {"id": "all"}]
    status, answer = device.call("GetModuleLogs", items=items, encoding="none", contentType="text")
    assert status == 200
    assert [entry["id"] for entry in answer] == ["edgeHub", "sensor"]
    assert answer[1]["payload"] == "sensor says\nhello\n"
    assert device.calls.queries == [{"tail": "1000"}, {"tail": "5", "since": "1h"}]


def test_logs_come_packed(device: Device) -> None:
    """In base64, as JSON wants it."""
    _, answer = device.call("GetModuleLogs", items={"id": "sensor"}, encoding="gzip")
    packed = base64.b64decode(answer[0]["payloadBytes"])
    assert gzip.decompress(packed) == b"sensor says\nhello\n"


def test_logs_come_as_records(tmp_path: Path) -> None:
    """With level, time and stream of each line; a line that spans frames is one."""
    device = Device(tmp_path, Calls(LINES))
    _, answer = device.call("GetModuleLogs", items={"id": "sensor"}, contentType="json")
    records = json.loads(answer[0]["payload"])
    common = {"iothub": "hub.example", "device": "house-1", "id": "sensor"}
    assert records[0] == {
        **common,
        "stream": "stdout",
        "loglevel": 4,
        "text": "[WRN] - disk is filling",
        "timestamp": "2026-06-01 11:59:58.000 +00:00",
    }
    assert [(r["stream"], r["loglevel"], r["text"]) for r in records[1:]] == [
        ("stdout", 6, "plain line"),
        ("stderr", 6, "on the other stream"),
        ("stdout", 3, "an error"),
    ]
    assert device.calls.queries == [{"tail": "1000", "timestamps": "true"}]


def test_the_engines_time_stands_in_for_a_lines_own(tmp_path: Path) -> None:
    """It is no part of the text."""
    calls = Calls(frame(1, b"2026-06-01T12:00:00.123456789Z <5>up\n"))
    _, answer = Device(tmp_path, calls).call(
        "GetModuleLogs", items={"id": "sensor"}, contentType="json"
    )
    (record,) = json.loads(answer[0]["payload"])
    assert (record["timestamp"], record["text"], record["loglevel"]) == (
        "2026-06-01T12:00:00.123456789Z",
        "up",
        5,
    )


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"loglevel": 3}, "<3>an error\n"),
        ({"regex": "^plain"}, "plain line\n"),
        ({"loglevel": 4, "regex": "full"}, ""),
        ({"loglevel": 4, "regex": "fill"}, WARNED),
    ],
)
def test_lines_are_chosen_by_level_and_text(
    tmp_path: Path, selection: dict[str, object], expected: str
) -> None:
    """Both have to fit; what is left is as it was written."""
    items = {"id": "sensor", "filter": selection}
    _, answer = Device(tmp_path, Calls(LINES)).call("GetModuleLogs", items=items)
    assert answer[0]["payload"] == expected


def test_no_line_is_an_empty_array(tmp_path: Path) -> None:
    """As JSON has it."""
    items = {"id": "sensor", "filter": {"regex": "nothing"}}
    _, answer = Device(tmp_path).call("GetModuleLogs", items=items, contentType="json")
    assert answer[0]["payload"] == "[]"


def test_an_answer_is_bounded(tmp_path: Path) -> None:
    """All modules together; packed logs count as packed."""
    device = Device(tmp_path, Calls(frame(1, b"x" * 99 + b"\n") * 1000))
    assert device.call("GetModuleLogs", items={"id": "sensor"})[0] == 200
    status, answer = device.call("GetModuleLogs", items={"id": "all"})
    assert (status, answer["message"][:36]) == (400, "logs have more than 127000 bytes; as")
    assert device.call("GetModuleLogs", items={"id": "all"}, encoding="gzip")[0] == 200


def test_logs_are_uploaded(uploading: Callable[[Calls], Device], storage: BlobStorage) -> None:
    """Whole, below hub and device; the task tells how it ended, also to a later agent."""
    device = uploading(Calls())
    status, begun = device.call(
        "UploadModuleLogs", items={"id": "sensor"}, encoding="gzip", sasUrl=storage.url
    )
    assert (status, sorted(begun)) == (200, ["correlationId", "message", "status"])
    (name,) = storage.blobs
    assert name == "hub.example/house-1/sensor-2026-06-01--12-00-00.log.gz"
    assert gzip.decompress(storage.blobs[name]) == b"sensor says\nhello\n"
    assert device.calls.queries == [{"tail": "all"}]
    later = uploading(Calls())
    ended = later.call("GetTaskStatus", correlationId=begun["correlationId"])
    assert ended == (200, {**begun, "status": "Completed"})


def test_a_support_bundle_is_uploaded_in_blocks(
    uploading: Callable[[Calls], Device], storage: BlobStorage
) -> None:
    """With the times that were asked for."""
    device = uploading(Calls())
    device.call("UploadSupportBundle", sasUrl=storage.url, since="1d", edgeRuntimeOnly=True)
    assert device.calls.queries == [
        {"since": "1d", "edge_runtime_only": "true", "iothub_hostname": "hub.example"}
    ]
    (name,) = storage.blobs
    assert name == "hub.example/house-1/support-bundle-2026-06-01--12-00-00.zip"
    assert len(storage.blobs[name]) == 3 * 1024 * 1024 + 2


def test_half_a_bundle_is_never_uploaded(
    uploading: Callable[[Calls], Device], storage: BlobStorage
) -> None:
    """The task has failed, with the reason."""
    calls = Calls()
    calls.breaks_off = True
    _, told = uploading(calls).call("UploadSupportBundle", sasUrl=storage.url)
    assert (told["status"], told["message"]) == ("Failed", "edged went away")
    assert storage.blobs == {}


def test_the_parent_stands_in_for_upstream(
    uploading: Callable[[Calls], Device], storage: BlobStorage
) -> None:
    """In the address of the storage."""
    url = storage.url.replace("localhost", "$upstream")
    _, told = uploading(Calls()).call("UploadModuleLogs", items={"id": "all"}, sasUrl=url)
    assert (told["status"], len(storage.blobs)) == ("Completed", 2)


def test_a_busy_storage_is_asked_again(
    uploading: Callable[[Calls], Device], storage: BlobStorage
) -> None:
    """Twice, after 5 to 20 seconds."""
    storage.refusals = ["503 Server Busy", "429 Too Many"]
    device = uploading(Calls())
    _, told = device.call("UploadModuleLogs", items={"id": "sensor"}, sasUrl=storage.url)
    assert told["status"] == "Completed"
    assert [5 <= pause <= 20 for pause in device.pauses] == [True, True]


@pytest.mark.parametrize(
    ("refusals", "signature", "message"),
    [
        (["503 Busy"] * 3, "secret%2Fsignature", "the storage answers 503"),
        ([], "wrong", "the storage answers 403 AuthFailed"),
    ],
)
def test_a_storage_that_refuses_is_named(
    uploading: Callable[[Calls], Device],
    storage: BlobStorage,
    refusals: list[str],
    signature: str,
    message: str,
) -> None:
    """Without the signature."""
    storage.refusals = refusals
    url = storage.url.replace("secret%2Fsignature", signature)
    _, told = uploading(Calls()).call("UploadModuleLogs", items={"id": "sensor"}, sasUrl=url)
    assert (told["status"], told["message"]) == ("Failed", message)
    assert storage.blobs == {}


def test_a_task_that_a_kill_ended_has_failed(tmp_path: Path) -> None:
    """A task that nobody knows is Unknown."""
    kept = {"tasks": [{"id": "1", "status": "Running", "message": ""}]}
    (tmp_path / "tasks.json").write_text(json.dumps(kept))
    device = Device(tmp_path)
    _, told = device.call("GetTaskStatus", correlationId="1")
    assert (told["status"], told["message"][:15]) == ("Failed", "the agent ended")
    assert device.call("GetTaskStatus", correlationId="2")[1]["status"] == "Unknown"


@pytest.mark.parametrize(
    ("name", "request_", "message"),
    [
        ("dance", {}, "method 'dance' is not known; expected one of ping"),
        ("RestartModule", {"schemaVersion": None, "id": "sensor"}, "schemaVersion is None"),
        ("RestartModule", {"schemaVersion": "2.0", "id": "sensor"}, "schemaVersion is '2.0'"),
        ("RestartModule", {"id": 5}, "id is 5"),
        ("GetTaskStatus", {}, "correlationId is None"),
        ("GetModuleLogs", {}, "items holds what has no"),
        ("GetModuleLogs", {"items": {"id": "("}}, "not a regular"),
        ("GetModuleLogs", {"encoding": "zip"}, "encoding is 'zip', expected 'none' or 'gzip'"),
        ("GetModuleLogs", {"contentType": "xml"}, "contentType is 'xml'"),
        ("GetModuleLogs", {"items": {"id": "all", "filter": {"tail": 0}}}, "tail is 0"),
        ("GetModuleLogs", {"items": {"id": "all", "filter": {"loglevel": 9}}}, "loglevel is 9"),
        ("GetModuleLogs", {"items": {"id": "all", "filter": {"regex": "["}}}, "regex '[' is not"),
        ("GetModuleLogs", {"items": {"id": "all", "filter": {"x": 1}}}, "filter 'x' is not known"),
        ("UploadModuleLogs", {"items": {"id": "all"}}, "sasUrl is missing, expected https"),
        ("UploadModuleLogs", {"sasUrl": "http://a/b?c"}, "sasUrl cannot be used"),
        ("UploadSupportBundle", {"sasUrl": "https://a/b"}, "sasUrl cannot be used"),
        (
            "UploadSupportBundle",
            {"sasUrl": "https://a/b?c", "edgeRuntimeOnly": 1},
            "edgeRuntimeOnly is 1",
        ),
    ],
)
def test_a_wrong_call_is_told_what_was_expected(
    device: Device, name: str, request_: dict[str, object], message: str
) -> None:
    """400 with a message."""
    status, answer = device.call(name, **request_)
    assert status == 400
    assert message in answer["message"]


@pytest.mark.parametrize("payload", [b"[]", b"{", b"[" * 100_000])
def test_a_payload_that_is_no_object_is_refused(device: Device, payload: bytes) -> None:
    """400, whatever it is."""
    assert device.methods("RestartModule", payload)[0] == 400
