"""The built-in direct methods, by name and payload."""

import base64
import gzip
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from skerry.agent.methods import BuiltIn
from skerry.base.client import ApiError
from skerry.base.frames import frame


class Calls:
    """An edged with two modules."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.queries: list[Mapping[str, str]] = []

    def names(self) -> list[str]:
        return ["edgeHub", "sensor"]

    def act(self, name: str, action: str) -> None:
        if name not in self.names():
            raise ApiError(404, f"no module {name!r}")
        self.done.append(f"{action} {name}")

    def tail(self, name: str, query: Mapping[str, str]) -> Iterable[bytes]:
        self.queries.append(query)
        return [frame(1, f"{name} says\n".encode()), frame(2, b"hello\n")]


def call(name: str, payload: object, calls: Calls | None = None) -> tuple[int, Any]:
    """Call a method."""
    status, answer = BuiltIn(calls or Calls())(name, json.dumps(payload).encode())
    return status, json.loads(answer)


def test_ping_answers_whatever_it_is_sent() -> None:
    """Names count without case."""
    assert BuiltIn(Calls())("PING", b"not json") == (200, b"null")


def test_a_module_is_restarted() -> None:
    """One that is not there is 500, as upstream answers."""
    calls = Calls()
    assert call("RestartModule", {"schemaVersion": "1.0", "id": "sensor"}, calls) == (200, None)
    assert calls.done == ["restart sensor"]
    assert call("RestartModule", {"schemaVersion": "1.0", "id": "x"}) == (
        500,
        {"message": "no module 'x'"},
    )


def test_logs_are_chosen_by_expression() -> None:
    """With the options of the first item that names a module."""
    calls = Calls()
    items = [{"id": "sens", "filter": {"tail": 5, "since": "1h"}}, {"id": "all"}]
    request = {"schemaVersion": "1.0", "items": items, "encoding": "none", "contentType": "text"}
    status, answer = call("GetModuleLogs", request, calls)
    assert status == 200
    assert [entry["id"] for entry in answer] == ["edgeHub", "sensor"]
    assert answer[1]["payload"] == "sensor says\nhello\n"
    assert calls.queries == [{"tail": "1000"}, {"tail": "5", "since": "1h"}]


def test_logs_come_packed() -> None:
    """In base64, as JSON wants it."""
    request = {"schemaVersion": "1.0", "items": {"id": "sensor"}, "encoding": "gzip"}
    _, answer = call("GetModuleLogs", request)
    packed = base64.b64decode(answer[0]["payloadBytes"])
    assert gzip.decompress(packed) == b"sensor says\nhello\n"


@pytest.mark.parametrize(
    ("name", "request_", "message"),
    [
        ("dance", {}, "method 'dance' is not known; expected one of ping"),
        ("RestartModule", [], "the payload is list, expected an object"),
        ("RestartModule", {"id": "sensor"}, "schemaVersion is None"),
        ("RestartModule", {"schemaVersion": "1.0", "id": 5}, "id is 5"),
        ("GetModuleLogs", {"schemaVersion": "1.0"}, "items holds what has no"),
        ("GetModuleLogs", {"schemaVersion": "1.0", "items": {"id": "("}}, "not a regular"),
        ("GetModuleLogs", {"schemaVersion": "1.0", "encoding": "zip"}, "encoding is 'zip'"),
        (
            "GetModuleLogs",
            {"schemaVersion": "1.0", "items": {"id": "all", "filter": {"tail": 0}}},
            "tail is 0",
        ),
        (
            "GetModuleLogs",
            {"schemaVersion": "1.0", "items": {"id": "all", "filter": {"loglevel": 3}}},
            "filter 'loglevel' is not known",
        ),
    ],
)
def test_a_wrong_call_is_told_what_was_expected(name: str, request_: object, message: str) -> None:
    """400 with a message."""
    status, answer = call(name, request_)
    assert status == 400
    assert message in answer["message"]
