"""How modules are asked whether they are ready, against real ports."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from fakes.edged import VirtualClock
from harness.agents import InlineExecutor
from skerry.agent.deployment import parse_deployment
from skerry.agent.model import Actual, Readiness, ReadinessKind, RuntimeStatus, Wanted
from skerry.agent.readiness import ReadinessWatch, probe
from skerry.base.client import UnreachableError


class Answers(BaseHTTPRequestHandler):
    """200 for /up, 503 for all else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/up" else 503)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def answering() -> Iterator[int]:
    """Give the port of a web server on this machine."""
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def no_logs(_name: str, _since: object) -> list[bytes]:
    raise UnreachableError("edged is away")


def found(**fields: Any) -> Actual:
    return Actual("localhost", "a:1", RuntimeStatus.RUNNING, **fields)


def test_http_wants_a_good_status() -> None:
    """2xx or 3xx on the path given; nobody on the port is not ready."""
    with answering() as port:
        ready = Readiness(ReadinessKind.HTTP, port, "/up")
        assert probe(ready, found(), no_logs)
        assert not probe(Readiness(ReadinessKind.HTTP, port, "/down"), found(), no_logs)
    assert not probe(ready, found(), no_logs)
    assert not probe(Readiness(ReadinessKind.TCP, port), found(), no_logs)


@pytest.mark.parametrize(
    ("health", "expected"), [("healthy", True), ("starting", False), ("", False)]
)
def test_a_healthcheck_is_the_engines_word(health: str, expected: bool) -> None:
    """A container without one is never ready by it."""
    asked = Readiness(ReadinessKind.HEALTHCHECK)
    assert probe(asked, found(health=health), no_logs) is expected


def test_what_goes_wrong_counts_as_not_ready() -> None:
    """The logs cannot be read, say."""
    assert not probe(Readiness(ReadinessKind.LOG, pattern="up"), found(), no_logs)


def test_a_module_that_starts_anew_is_asked_again() -> None:
    """Ready once is ready until then; its time begins again too."""
    clock = VirtualClock()
    watch = ReadinessWatch(no_logs, InlineExecutor(), clock)
    asked = Readiness(ReadinessKind.HEALTHCHECK, timeout_seconds=10)
    modules = {"localhost": Wanted("localhost", "a:1", readiness=asked)}
    watch.look(modules, {"localhost": found(started=clock.now(), health="healthy")})
    assert (watch.waiting, watch.late) == (frozenset(), {})
    clock.advance(60)
    again = {"localhost": found(started=clock.now(), health="starting")}
    watch.look(modules, again)
    assert watch.waiting == {"localhost"}
    clock.advance(10)
    watch.look(modules, again)
    assert watch.waiting == frozenset()
    assert watch.late == {"localhost": "not ready within 10 s (healthcheck)"}


@pytest.mark.parametrize(
    ("readiness", "message"),
    [
        ({"type": "exec"}, "readiness.type is 'exec', expected one of healthcheck, tcp, http, log"),
        ({"type": "tcp"}, "readiness.port is None, expected 1 to 65535"),
        ({"type": "http", "port": 80, "path": "x"}, "readiness.path is 'x'"),
        ({"type": "log"}, "readiness.pattern is None, expected a regular expression"),
        ({"type": "log", "pattern": "("}, "readiness.pattern '(' is not one"),
        ({"type": "healthcheck", "timeoutSeconds": "1"}, "timeoutSeconds is '1'"),
    ],
)
def test_a_bad_probe_refuses_the_module(readiness: object, message: str) -> None:
    """With what was expected."""
    entry = {"type": "docker", "settings": {"image": "a:1"}, "readiness": readiness}
    desired = {"schemaVersion": "1.1", "modules": {"a": entry}}
    document = {"modulesContent": {"$edgeAgent": {"properties.desired": desired}}}
    assert message in parse_deployment(document).refused["a"]
