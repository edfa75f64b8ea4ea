"""What goes into the store and comes out of it. Values only.

Priorities are upstream's: 0 goes first, 9 later, `DEFAULT_PRIORITY` last.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

Position = NewType("Position", int)
"""Where an entry stands: unique in a store, growing within a queue. Nothing else is promised."""

DEFAULT_PRIORITY = 2_000_000_000
UPSTREAM = "upstream"
_ASIDE = "upstream for "  # a blank is in no device's name

_MIB = 1024 * 1024


def aside(source: str) -> str:
    """Return the endpoint where messages of a client wait that the cloud does not take."""
    return _ASIDE + source


def aside_source(endpoint: str) -> str | None:
    """Return whose messages wait at such an endpoint, None for any other endpoint."""
    return endpoint.removeprefix(_ASIDE) if endpoint.startswith(_ASIDE) else None


class Durability(StrEnum):
    """What an acknowledged message survives."""

    SYNCED = "synced"  # a power cut
    WRITTEN = "written"  # the end of the process; a power cut may take the last seconds
    MEMORY = "memory"  # nothing; documents are kept all the same


class FullPolicy(StrEnum):
    """What happens to a message for which there is no room."""

    REJECT_NEW = "reject_new"
    DROP_OLDEST = "drop_oldest_lowest_priority"


class Outcome(StrEnum):
    """How an entry ended."""

    DELIVERED = "delivered"
    REJECTED = "rejected"


class Dropped(StrEnum):
    """Why the store itself dropped a message; a receiver's reasons are texts of its own."""

    NO_ROUTE = "no_route"
    EXPIRED = "ttl_expiry"
    EVICTED = "evicted"
    PURGED = "purged"
    REJECTED = "rejected"
    CORRUPTED = "corrupted"


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How much the store may hold, for how long, and how safely."""

    durability: Durability = Durability.SYNCED
    policy: FullPolicy = FullPolicy.REJECT_NEW
    max_bytes: int = 4096 * _MIB  # of waiting messages, as `QueueState.bytes` counts them
    min_free_bytes: int = 64 * _MIB  # of the disk, left to others
    quarantine_folders: int = 3
    quarantine_bytes: int = 1024 * _MIB  # of older ones; the newest stays while the disk has room
    ledger_bytes: int = 64 * _MIB
    ledger_seconds: float = 7 * 86400.0
    cache_bytes: int = 16 * _MIB  # of messages on their way, in memory
    batch_messages: int = 512
    batch_seconds: float = 0.005  # that the end of an entry waits to share a commit
    check_seconds: float = 5.0  # for the integrity check at the start
    believed_gap_seconds: float = 30 * 86400.0  # between two boots, by the wall clock


@dataclass(frozen=True, slots=True)
class Message:
    """What a client sent. `id` is `Store.new_id()`; `received_at` is wall time in seconds."""

    id: str
    source: str
    system: Mapping[str, str]
    properties: Mapping[str, str]
    body: bytes
    received_at: float


@dataclass(frozen=True, slots=True)
class Target:
    """Where a message goes: `upstream` or `device/module/input`. No `ttl_seconds`: for ever."""

    endpoint: str
    priority: int = DEFAULT_PRIORITY
    ttl_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A message handed out; `expires_at` is wall time by today's clock, None for never."""

    position: Position
    message: Message
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message was not stored; its sender must not be told that it was.

    `reason` is `store_full`, `disk_full`, `storage_failure` or `closed`; `text` is for people.
    """

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue as it stands. Rates are messages a second over the last minute."""

    endpoint: str
    priority: int
    length: int  # waiting, those handed out included
    bytes: int
    in_flight: int
    oldest: float | None  # wall time at which the oldest of them was received
    in_rate: float
    out_rate: float
    full_in_seconds: float | None  # until the store is full at this minute's rate; None: never


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """The store as a whole; `problems` is empty when all is well."""

    bytes: int
    max_bytes: int
    disk_free_bytes: int
    full_in_seconds: float | None
    durability: Durability
    quarantined: tuple[str, ...]  # folders with databases that were moved aside
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a message. Kinds: received, stored, moved, delivered,
    dropped, sent.
    """

    at: float
    kind: str
    endpoint: str = ""
    priority: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """What the ledger knows of a message."""

    message_id: str
    source: str
    events: tuple[Event, ...] = field(default=())
