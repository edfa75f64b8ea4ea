"""keyd: the first byte from a service that idled out, and operations a second while it is warm."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.services import Services
from perf.conftest import Record
from skerry.keys.client import KeysClient
from skerry_factory.bench import summarise

pytestmark = pytest.mark.perf

RUNS, SECONDS = 5, 2.0
STARTS = 10
FIRST_BYTE_SECONDS = 0.4
SETTINGS = f'[[principal]]\nuid = {os.getuid()}\nkeys = ["*"]\n'
DIGEST = bytes(range(32))

# What systemd does with a socket unit: it listens, and starts the service with the socket as
# descriptor 3 when somebody connects.
ACTIVATE = 'exec env LISTEN_FDS=1 LISTEN_FDNAMES=$1 LISTEN_PID=$$ "$@" 3<&0'
MODULES = {"keyd": "skerry.keys.service", "certd": "skerry.certs.service"}


@pytest.mark.parametrize("name", MODULES)
def test_first_byte_from_a_sleeping_service(tmp_path: Path, record: Record, name: str) -> None:
    """From the call that wakes the service to the first byte of its answer, its start included."""
    running = Services(tmp_path)
    running.configure(name, SETTINGS if name == "keyd" else "")
    values = [first_byte(running, name) for _ in range(STARTS + 1)][1:]
    label = f"first byte from {name} after its idle exit"
    record(summarise(label, values, "s", target=FIRST_BYTE_SECONDS))


def first_byte(running: Services, name: str) -> float:
    """Return the seconds of one start."""
    path = running.socket(name)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with socket.socket(socket.AF_UNIX) as caller:
            start = time.monotonic()
            caller.connect(str(path))
            caller.sendall(
                b"GET /config?api-version=2020-09-01 HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )
            arguments = [a for a in running.arguments(name) if not a.startswith("--socket")]
            process = subprocess.Popen(
                ["sh", "-c", ACTIVATE.replace("$1", name), "sh", sys.executable, "-m",
                 MODULES[name], *arguments],
                stdin=listener.fileno(), stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                caller.settimeout(20)
                answer = caller.recv(1)
                seconds = time.monotonic() - start
            finally:
                process.terminate()
                process.wait()
    assert answer == b"H"
    return seconds


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeysClient]:
    """A client of a keyd process with keys in files."""
    running = Services(tmp_path_factory.mktemp("keyd"))
    running.configure("keyd", SETTINGS)
    running.start("keyd")
    yield KeysClient(running.socket("keyd"))
    running.stop()


def test_operations_a_second(keys: KeysClient, record: Record) -> None:
    """One caller, one call after another, over the socket."""
    derived = keys.derive(keys.create_key("master"), b"module:1:primary")
    elliptic = keys.create_key_pair("ec", "ec-p256")
    rsa = keys.create_key_pair("rsa", "rsa-2048")
    info = bytes.fromhex("3031300d060960864801650304020105000420") + DIGEST
    operations: dict[str, Callable[[], object]] = {
        "HMAC-SHA256 with a derived key": lambda: keys.sign_hmac(derived, b"message"),
        "ECDSA P-256": lambda: keys.sign_ecdsa(elliptic, DIGEST),
        "RSA-2048": lambda: keys.sign_rsa(rsa, info),
        "AES-256-GCM": lambda: keys.encrypt(derived, b"i" * 12, b"", bytes(1024)),
    }
    for what, operation in operations.items():
        values = [rate(operation) for _ in range(RUNS)]
        record(summarise(f"keyd: {what}", values, "1/s"))


def rate(operation: Callable[[], object]) -> float:
    """Return how often something is done a second."""
    start, count = time.monotonic(), 0
    while time.monotonic() - start < SECONDS:
        operation()
        count += 1
    return count / (time.monotonic() - start)
