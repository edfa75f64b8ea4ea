"""Messages, what may become of them, and their limits (azure-iot-edge.md §8.4, §11.3).

System properties have the long names of `skerry.wire.topics.SYSTEM_PROPERTIES` everywhere inside;
only the heads (HTTP, MQTT, the event stream) give them other names.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from skerry.heads.model import MAX_MESSAGE_BYTES, Telemetry, size_bytes
from skerry.wire.identity import Identity
from skerry_lab.registry.errors import HubError, bad_argument

MAX_C2D_BYTES = 65_536
MAX_PENDING = 50
MAX_DELIVERIES = 10
LOCK_SECONDS = 60
DEFAULT_TTL = timedelta(hours=1)
MAX_TTL = timedelta(hours=48)

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Ack(StrEnum):
    """Which ends of a message to a device its sender wants to hear of."""

    NONE = "none"
    POSITIVE = "positive"
    NEGATIVE = "negative"
    FULL = "full"


class Outcome(StrEnum):
    """How a device settles a message."""

    COMPLETE = "complete"
    ABANDON = "abandon"
    REJECT = "reject"


class End(StrEnum):
    """How a message to a device ended, as feedback spells it."""

    SUCCESS = "Success"
    REJECTED = "Rejected"
    EXPIRED = "Expired"
    TOO_OFTEN = "DeliveryCountExceeded"
    PURGED = "Purged"


@dataclass(frozen=True)
class MessageSettings:
    """How much of what devices sent is kept: the oldest goes when either is exceeded."""

    keep_messages: int = 1_000_000
    keep_bytes: int = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """A stored message: its place in the stream, and who sent it as the hub knew them then."""

    offset: int
    enqueued: datetime
    telemetry: Telemetry
    generation_id: str
    auth_type: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to a device as its sender wants it; without `expires` it lasts for an hour."""

    identity: Identity
    body: bytes = field(repr=False)
    system: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    message_id: str = ""
    ack: Ack = Ack.NONE
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class C2d:
    """A message to a device, locked for the one who got it until `locked_until`.

    `system` is complete, as the device gets it: `message-id`, `to`, `expiry-time-utc`, `ack`, ….
    """

    sequence: int
    identity: Identity
    lock_token: str
    message_id: str
    system: Mapping[str, str]
    properties: Mapping[str, str]
    body: bytes = field(repr=False)
    enqueued: datetime
    expires: datetime
    locked_until: datetime
    delivery_count: int


def check_size(telemetry: Telemetry) -> None:
    """Check that a message of a device is not too large. Raises: HubError 413."""
    size = size_bytes(telemetry)
    if size > MAX_MESSAGE_BYTES:
        raise too_large(size, MAX_MESSAGE_BYTES)


def octets(text: str, what: str) -> bytes:
    """Read base64. Raises: HubError 400."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad_argument(f"{what} is not base64: {error}") from error


def too_large(size: int, limit: int) -> HubError:
    """Return the error for a message that is too large."""
    return HubError(
        413,
        "MessageTooLarge",
        f"the message has {size} bytes with its properties, expected at most {limit}",
    )


def lock_lost(lock_token: str) -> HubError:
    """Return the error for a lock that ended, or never was."""
    return HubError(
        412,
        "DeviceMessageLockLost",
        f"no message is locked by {lock_token[:64]!r}; a lock lasts {LOCK_SECONDS} s",
    )


def queue_full() -> HubError:
    """Return the error for a device for which as many messages wait as may."""
    return HubError(
        403,
        "DeviceMaximumQueueDepthExceeded",
        f"Device Queue depth cannot exceed {MAX_PENDING} messages",
    )
