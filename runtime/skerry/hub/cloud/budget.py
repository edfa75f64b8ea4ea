"""How many bytes of messages may go to the cloud in a day, where the link is paid for by the byte.

    document hub/budget    {"day": "2026-11-24", "spent": 12345}

Invariants
- A day is one of the wall clock, UTC. What was spent outlives a restart.
- A message counts with what carries it before it is sent, and once more when it has to go again;
  twins, methods and what keeps connections up do not count.
- A message that no day has room for goes alone, as the first of a day.

To be used on the loop.
"""

import json

from skerry.base.clock import Clock
from skerry.base.log import Logger
from skerry.hub.store.documents import Documents
from skerry.hub.store.model import Entry

_KIND, _KEY = "hub", "budget"
_CARRIED_BYTES = 48
"""MQTT's head and acknowledgement, and TLS's records around them."""


class Budget:
    """The budget of one hub; None of `bytes_per_day` is no limit."""

    def __init__(
        self, bytes_per_day: int | None, documents: Documents, clock: Clock, log: Logger
    ) -> None:
        self._bytes_per_day = bytes_per_day
        self._documents = documents
        self._clock = clock
        self._log = log
        self._is_told = False
        self._day, self._spent = "", 0
        if bytes_per_day is not None:
            self._day, self._spent = _kept(documents)

    def fitting(self, entries: list[Entry]) -> int:
        """Return how many of these, from the first on, may go today."""
        if self._bytes_per_day is None:
            return len(entries)
        self._look()
        left = self._bytes_per_day - self._spent
        for number, entry in enumerate(entries):
            left -= cost_bytes(entry)
            if left < 0 and (number or self._spent):
                self._tell()
                return number
        return len(entries)

    @property
    def is_spent(self) -> bool:
        """Whether not even an empty message may go today."""
        if self._bytes_per_day is None:
            return False
        self._look()
        return self._spent + _CARRIED_BYTES > self._bytes_per_day

    def spend(self, entries: list[Entry]) -> None:
        """These are going to be sent."""
        if self._bytes_per_day is None or not entries:
            return
        self._look()
        self._spent += sum(map(cost_bytes, entries))
        kept = {"day": self._day, "spent": self._spent}
        self._documents.put(_KIND, _KEY, json.dumps(kept).encode())

    def _look(self) -> None:
        day = self._clock.now().date().isoformat()
        if day != self._day:
            self._day, self._spent, self._is_told = day, 0, False

    def _tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            self._log.warning(
                "messages wait for tomorrow: today's bytes are spent",
                spent=self._spent,
                most=self._bytes_per_day,
            )


def cost_bytes(entry: Entry) -> int:
    """Return what it takes to send a message."""
    message = entry.message
    bags = (message.system, message.properties)
    named = sum(
        len(name.encode()) + len(value.encode()) + 2 for bag in bags for name, value in bag.items()
    )
    return len(message.body) + named + len(message.source) + _CARRIED_BYTES


def _kept(documents: Documents) -> tuple[str, int]:
    try:
        found = json.loads(documents.get(_KIND, _KEY) or b"{}")
        return str(found["day"]), int(found["spent"])
    except (ValueError, KeyError, TypeError):
        return "", 0
