"""Programs of others that are measured in the same run, for comparison."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START_SECONDS = 10.0


@contextmanager
def mosquitto(folder: Path, certificate: Path) -> Iterator[int]:
    """Run Debian's mosquitto with TLS and yield its port; it stores nothing on disk.

    `certificate` is PEM of key and chain; whoever connects is let in.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    settings = folder / "mosquitto.conf"
    settings.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence false\n"
        "max_queued_messages 0\n"  # else it drops what a subscriber is slow to take
        f"certfile {certificate}\nkeyfile {certificate}\nlog_type none\n"
    )
    process = subprocess.Popen(["mosquitto", "-c", str(settings)])
    try:
        _wait(process, port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "mosquitto has ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError("mosquitto does not listen")
