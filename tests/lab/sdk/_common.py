"""What the scripts share: facts of the test, options of the stock clients, waiting."""

import json
import sys
import threading
from pathlib import Path

SECONDS = 30

FACTS = json.loads(sys.argv[1])


def client_options() -> dict[str, object]:
    """Return what every client of the device SDK is made with."""
    return {
        "server_verification_cert": Path(FACTS["root"]).read_text(),
        "websockets": FACTS.get("websockets", False),
    }


class Box:
    """A handler that keeps what it is called with until it is wanted."""

    def __init__(self) -> None:
        self._values: list[object] = []
        self._changed = threading.Condition()

    def __call__(self, value: object = None) -> None:
        with self._changed:
            self._values.append(value)
            self._changed.notify_all()

    def get(self) -> object:
        """Return the next one."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._values, SECONDS), "nothing came"
            return self._values.pop(0)


def say(value: object) -> None:
    """Tell the test something, one JSON a line."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def heard() -> str:
    """Wait for a line of the test."""
    return sys.stdin.readline().strip()
