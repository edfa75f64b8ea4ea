"""Messages of clients and to them, as heads pass them on, and the limit of their size.

System properties have the long names of `skerry.wire.topics.SYSTEM_PROPERTIES`. Source:
azure-iot-edge.md §11.3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from skerry.wire.identity import Identity

MAX_MESSAGE_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A message of a device or module."""

    identity: Identity
    system: Mapping[str, str]
    properties: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to a client, its until it is settled by `token`; `again` if it came before."""

    token: str
    topic: str
    payload: bytes = field(repr=False)
    again: bool = False


def bag_bytes(*bags: Mapping[str, str]) -> int:
    """Return how many bytes properties count for."""
    return sum(
        len(name.encode()) + len(value.encode()) for bag in bags for name, value in bag.items()
    )


def size_bytes(message: Telemetry) -> int:
    """Return how many bytes a message counts for, with its properties."""
    return len(message.body) + bag_bytes(message.system, message.properties)
