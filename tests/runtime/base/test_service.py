"""The frame of the services, as a process: exit status, sockets, settings."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from skerry.base.client import ServiceClient
from skerry.base.settings import settings_digest

SERVICE = """
import sys
from skerry.base.errors import SettingsError, SkerryError
from skerry.base.http import Response, Router
from skerry.base.server import Listener
from skerry.base.service import Context, main

def build(context: Context) -> list[Listener]:
    if context.settings.get("colour") == "wrong":
        raise SettingsError("colour 'wrong' is not known")
    if context.settings.get("colour") == "late":
        raise SkerryError("no state folder")
    router = Router(["2020-01-01"])
    router.add("GET", "/peer", lambda _request: Response.json(str(context.peer("other"))))
    return [Listener("testd", context.sockets["testd"], router)]

sys.exit(main("testd", ["testd"], build))
"""


DEAF_MAIN_THREAD = """
import signal, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
"""


def spawn(folder: Path, *options: str, program: str = SERVICE) -> subprocess.Popen[str]:
    """Start the service with its own folders and socket."""
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            program,
            f"--config-dir={folder}",
            f"--state-dir={folder}",
            f"--socket=testd={folder / 'testd.sock'}",
            *options,
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SKERRY_LOG": "info"},
    )


def test_service_tells_its_settings_and_ends_on_sigterm(tmp_path: Path) -> None:
    """`GET /config` is the digest of the files in force; SIGTERM ends with status 0."""
    (tmp_path / "config.toml").write_text('colour = "blue"\n')
    process = spawn(tmp_path, "--peer=other=/elsewhere.sock")
    try:
        assert process.stderr is not None
        assert "started" in process.stderr.readline()
        client = ServiceClient(tmp_path / "testd.sock", "2020-01-01")
        assert client.get("/config") == {"digest": settings_digest(tmp_path)}
        assert client.get("/peer") == "/elsewhere.sock"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_signal_that_another_thread_gets_ends_the_service_too(tmp_path: Path) -> None:
    """The main thread waits for connections and would not come by to notice it."""
    process = spawn(tmp_path, program=f"{DEAF_MAIN_THREAD}\n{SERVICE}")
    try:
        assert process.stderr is not None
        assert "started" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def test_service_tells_systemd_when_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """READY=1 arrives at NOTIFY_SOCKET, and an idle service ends with status 0."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        process = spawn(tmp_path, "--idle-exit=0.1")
        assert notify.recv(64) == b"READY=1"
    process.communicate(timeout=10)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        pytest.param('colour = "wrong"', 153, "colour 'wrong' is not known", id="refused setting"),
        pytest.param("colour = ", 153, "cannot be used", id="not TOML"),
        pytest.param('colour = "late"', 1, "no state folder", id="other failure"),
    ],
)
def test_exit_status_tells_systemd_what_to_do(
    tmp_path: Path, content: str, status: int, message: str
) -> None:
    """153 is not worth a restart, 1 is; both say why on one line."""
    (tmp_path / "config.toml").write_text(content)
    process = spawn(tmp_path)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == status
    assert message in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("option", ["--socket=nonsense", "--idle-exit=soon"])
def test_wrong_option_is_a_usage_error(tmp_path: Path, option: str) -> None:
    """Usage errors exit 2."""
    process = spawn(tmp_path, option)
    process.communicate(timeout=10)
    assert process.returncode == 2
