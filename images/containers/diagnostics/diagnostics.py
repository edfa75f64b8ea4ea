"""Looks at a network from inside a container and says in JSON what it sees.

    probe [--connect HOST:PORT]… [--resolve NAME]… [--management SOCKET] [--seconds N]

Standard output is one object: `time` (seconds since 1970), `mtu` (bytes by interface), `connected`
by HOST:PORT and `resolved` by NAME (each null when it works, else why not), `management` likewise
for GET /modules of the management API; null too when nobody asked. A connection is TCP alone, as
Azure IoT Edge's diagnostics do it: the host's checks prove certificates. All questions are asked at
once and given up after N (10) seconds. Only Python's standard library is used; nothing is written.

Exit status: 0 the answer was written, whatever it says; 2 the arguments cannot be used.
"""

import argparse
import http.client
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

SECONDS = 10.0
MODULES = "/modules?api-version=2022-08-03"
LATE = "it did not answer in time"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def reach(target: str) -> None:
    """Open a connection and close it; raises OSError."""
    host, _, port = target.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port))).close()


def resolve(name: str) -> None:
    """Look a name up; raises OSError."""
    socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)


def ask_modules(path: str) -> None:
    """List the modules; raises OSError for every answer but 200."""
    connection = UnixConnection(path)
    try:
        connection.request("GET", MODULES)
        status = connection.getresponse().status
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP: {error!r}") from error
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise OSError(f"GET /modules was answered with {status}")


class Question:
    """One thing to try, in a thread of its own; `problem` is None once it worked."""

    def __init__(self, work: Callable[[str], None], about: str) -> None:
        self.about = about
        self.problem: str | None = LATE
        self._work = work
        # who never answers holds nobody up: daemons end with the process
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self, deadline: float) -> "Question":
        self._thread.join(max(deadline - time.monotonic(), 0))
        return self

    def _run(self) -> None:
        try:
            self._work(self.about)
        except OSError as error:
            self.problem = explain(error)
        else:
            self.problem = None


def explain(error: OSError) -> str:
    """Return why it failed, in one line."""
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, TimeoutError):
        return LATE
    return error.strerror.lower() if error.strerror else str(error)


def mtus(folder: Path = Path("/sys/class/net")) -> dict[str, int]:
    """Return the largest packet of each interface but the loopback."""
    found = {}
    for path in sorted(folder.glob("*/mtu")):
        if path.parent.name != "lo":
            found[path.parent.name] = int(path.read_text())
    return found


def probe(options: argparse.Namespace) -> dict[str, object]:
    """Ask everything at once; returns what is written."""
    deadline = time.monotonic() + options.seconds
    now = time.time()
    connections = [Question(reach, target) for target in options.connect]
    lookups = [Question(resolve, name) for name in options.resolve]
    api = Question(ask_modules, options.management) if options.management else None
    return {
        "time": now,
        "mtu": mtus(),
        "connected": {one.about: one.wait(deadline).problem for one in connections},
        "resolved": {one.about: one.wait(deadline).problem for one in lookups},
        "management": api.wait(deadline).problem if api else None,
    }


def target(text: str) -> str:
    """Check HOST:PORT; raises ValueError, which argparse reports."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ValueError(text)
    return text


def main(arguments: Sequence[str]) -> NoReturn:
    parser = argparse.ArgumentParser(prog="diagnostics")
    verbs = parser.add_subparsers(dest="verb", required=True)
    words = verbs.add_parser("probe", help="look at the network of this container")
    words.add_argument("--connect", action="append", default=[], type=target, metavar="HOST:PORT")
    words.add_argument("--resolve", action="append", default=[], metavar="NAME")
    words.add_argument("--management", metavar="SOCKET")
    words.add_argument("--seconds", type=float, default=SECONDS, metavar="N")
    json.dump(probe(parser.parse_args(arguments)), sys.stdout)
    sys.stdout.flush()
    # without this a look-up that is still stuck holds up the end of the interpreter
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
