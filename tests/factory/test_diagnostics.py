"""The program of the diagnostics image as a process, against sockets of this machine."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from skerry_factory.paths import Checkout

PROGRAM = Checkout.of_package().root / "images/containers/diagnostics/diagnostics.py"
END_SECONDS = 30


def diagnose(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-I", str(PROGRAM), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=END_SECONDS, check=False)


def told(*arguments: str) -> dict[str, Any]:
    """Return what a probe says."""
    done = diagnose("probe", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """Answer one request on a socket; yields what was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            link, _ = listener.accept()
            with link:
                asked.append(link.recv(4096))
                link.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield asked
        thread.join(END_SECONDS)


@contextmanager
def listening() -> Iterator[str]:
    """Listen on a port of the loopback; yields HOST:PORT. The kernel takes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_nothing_asked_tells_time_and_interfaces() -> None:
    """The clock is this machine's; every other answer is empty."""
    before = time.time()
    found = told()
    assert before <= found.pop("time") <= time.time()
    assert "lo" not in found.pop("mtu")
    assert found == {"connected": {}, "resolved": {}, "management": None}


def test_an_open_and_a_closed_port_are_told_apart() -> None:
    """Null for the one that takes connections, a reason for the other."""
    with listening() as closed:
        pass
    with listening() as taken:
        found = told("--connect", taken, "--connect", closed)
    assert found["connected"] == {taken: None, closed: "connection refused"}


def test_names_are_looked_up() -> None:
    """localhost is known everywhere; a name below `.invalid` nowhere (RFC 6761)."""
    found = told("--resolve", "localhost", "--resolve", "hub.invalid")
    assert found["resolved"] == {"localhost": None, "hub.invalid": "its name cannot be resolved"}


def test_the_management_api_is_asked_for_modules(tmp_path: Path) -> None:
    """GET /modules with an api-version; 200 is all that counts."""
    path = tmp_path / "mgmt.sock"
    with answering(path, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as asked:
        assert told("--management", str(path))["management"] is None
    assert asked[0].startswith(b"GET /modules?api-version=2022-08-03 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "answered with 403"),
        (b"", "closed connection without response"),
        (b"SSH-2.0\r\n", "no HTTP"),
    ],
)
def test_a_management_api_that_refuses_is_told(tmp_path: Path, answer: bytes, problem: str) -> None:
    """By its status, or by what it did in the place of an answer."""
    path = tmp_path / "mgmt.sock"
    with answering(path, answer):
        assert problem in told("--management", str(path))["management"]


def test_a_missing_management_socket_is_told(tmp_path: Path) -> None:
    """In the system's words."""
    found = told("--management", str(tmp_path / "mgmt.sock"))
    assert found["management"] == "no such file or directory"


def test_silence_is_given_up_after_its_time(tmp_path: Path) -> None:
    """The others' answers are there, and the process ends though a thread is stuck."""
    with socket.socket(socket.AF_UNIX) as silent, listening() as taken:
        silent.bind(str(tmp_path / "mgmt.sock"))
        silent.listen()
        words = ("--management", str(tmp_path / "mgmt.sock"), "--connect", taken)
        found = told(*words, "--seconds", "0.2")
    assert found["management"] == "it did not answer in time"
    assert found["connected"] == {taken: None}


@pytest.mark.parametrize(
    "arguments",
    [(), ("probe", "--connect", "hub"), ("probe", "--connect", "hub:0"), ("probe", "x")],
)
def test_wrong_arguments_are_refused(arguments: tuple[str, ...]) -> None:
    """Status 2 and the usage; nothing that looks like an answer."""
    done = diagnose(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: diagnostics")
