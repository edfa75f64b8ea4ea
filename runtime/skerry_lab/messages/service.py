"""What may be done with messages: the one place for their rules, whatever the protocol.

Messages to devices: each ends exactly once, as completed, rejected, expired, delivered too often
or purged; an end that its sender asked to hear of leaves a feedback record in the same transaction.
A lock that ends (by time, by `abandon`, with the link) puts a message back in its old place.
"""

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from skerry.base.clock import Clock
from skerry.heads.model import Telemetry, bag_bytes
from skerry.wire.identity import Identity
from skerry_lab.messages.log import EventLog
from skerry_lab.messages.model import (
    DEFAULT_TTL,
    LOCK_SECONDS,
    MAX_C2D_BYTES,
    MAX_DELIVERIES,
    MAX_PENDING,
    MAX_TTL,
    Ack,
    C2d,
    End,
    Event,
    MessageSettings,
    Outcome,
    Outgoing,
    lock_lost,
    queue_full,
    too_large,
)
from skerry_lab.messages.queue import Queue, Waiting, to_number, to_time
from skerry_lab.messages.records import RecordQueue, Records
from skerry_lab.outbox import Kind, Notice, Outbox
from skerry_lab.registry.errors import bad_argument
from skerry_lab.registry.model import Device, Module

_TOKEN_BYTES = 16
_HEARD: dict[Ack, frozenset[End]] = {
    Ack.NONE: frozenset(),
    Ack.POSITIVE: frozenset({End.SUCCESS}),
    Ack.NEGATIVE: frozenset(End) - {End.SUCCESS},
    Ack.FULL: frozenset(End),
}


class Identities(Protocol):
    """The registry, as far as messages need it."""

    def device(self, device_id: str) -> Device: ...

    def module(self, device_id: str, module_id: str) -> Module: ...


class Messages:
    """Messages in both directions. To be called on the database's thread."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        identities: Identities,
        outbox: Outbox,
        clock: Clock,
        settings: MessageSettings,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._log = EventLog(connection, settings)
        self._queue = Queue(connection)
        self.records = Records(connection)
        self._identities = identities
        self._outbox = outbox
        self._clock = clock
        self._random_bytes = random_bytes

    def append(self, batch: Sequence[Telemetry]) -> None:
        """Store messages of devices, in their order; their sizes are checked before."""
        self._log.append(batch, self._clock.now())

    def ends(self) -> tuple[int, int]:
        """Return the offsets of the oldest and the newest stored message, (1, 0) without any."""
        return self._log.ends()

    def read(self, after: int, limit: int, max_bytes: int) -> Iterator[Event]:
        """Yield stored messages behind an offset, at most `limit`, until they have `max_bytes`."""
        return self._log.read(after, limit, max_bytes)

    def send(self, wanted: Outgoing) -> Waiting:
        """Queue a message for a device or module and tell its link.

        Raises: HubError 400 (expiry), 403 (queue full), 404, 413.
        """
        identity = wanted.identity
        self.check_registered(identity)
        now = to_time(to_number(self._clock.now()))
        size = len(wanted.body) + bag_bytes(wanted.system, wanted.properties)
        if size > MAX_C2D_BYTES:
            raise too_large(size, MAX_C2D_BYTES)
        expires = wanted.expires or now + DEFAULT_TTL
        if not now < expires <= now + MAX_TTL:
            raise bad_argument(f"the message expires {expires}, expected within 48 h from now")
        self._sweep(self._queue.due(now, identity), now)
        if self._queue.depth(identity) >= MAX_PENDING:
            raise queue_full()
        message = Waiting(
            number=0,
            identity=identity,
            message_id=wanted.message_id or self._random_bytes(_TOKEN_BYTES).hex(),
            ack=wanted.ack,
            system=dict(wanted.system),
            properties=dict(wanted.properties),
            body=wanted.body,
            enqueued=now,
            expires=expires,
        )
        message = replace(message, number=self._queue.put(message))
        self._outbox.put(Notice(Kind.C2D, identity))
        return message

    def depth(self, identity: Identity) -> int:
        """Return how many messages wait or are locked."""
        return self._queue.depth(identity)

    def purge(self, device_id: str) -> int:
        """End all messages of a device; returns how many. Raises: HubError 404."""
        identity = Identity(device_id)
        self.check_registered(identity)
        messages = self._queue.all(identity)
        self._end(messages, End.PURGED, self._clock.now())
        return len(messages)

    def next_c2d(self, identity: Identity, limit: int) -> list[C2d]:
        """Return the oldest messages that are free, now locked for `LOCK_SECONDS`."""
        now = to_time(to_number(self._clock.now()))
        self._sweep(self._queue.due(now, identity), now)
        until = now + timedelta(seconds=LOCK_SECONDS)
        return [self._locked(message, until) for message in self._queue.free(identity, limit)]

    def settle(self, identity: Identity, lock_token: str, outcome: Outcome) -> None:
        """End a message, or give it back. Raises: HubError 412 when the lock has ended."""
        now = self._clock.now()
        message = self._queue.by_token(identity, lock_token)
        if message is None or message.locked_until is None or message.locked_until <= now:
            raise lock_lost(lock_token)
        if outcome is Outcome.ABANDON:
            self._sweep([message], now)
            self._outbox.put(Notice(Kind.C2D, identity))
        else:
            done = End.SUCCESS if outcome is Outcome.COMPLETE else End.REJECTED
            self._end([message], done, now)

    def release(self, identity: Identity) -> None:
        """Give back all that is locked: the link that had it is gone."""
        self._sweep(self._queue.locked(identity), self._clock.now())

    def tidy(self) -> None:
        """Let locks and messages end whose time has come, and tell links what is free again."""
        now = self._clock.now()
        back = self._sweep(self._queue.due(now), now)
        for identity in dict.fromkeys(message.identity for message in back):
            self._outbox.put(Notice(Kind.C2D, identity))
        self.records.forget(now)

    def check_registered(self, identity: Identity) -> None:
        """Check that somebody is registered. Raises: HubError 404."""
        if identity.module_id is None:
            self._identities.device(identity.device_id)
        else:
            self._identities.module(identity.device_id, identity.module_id)

    def _locked(self, message: Waiting, until: datetime) -> C2d:
        token = self._random_bytes(_TOKEN_BYTES).hex()
        self._queue.lock(message, token, until)
        identity = message.identity
        module = "" if identity.module_id is None else f"/modules/{identity.module_id}"
        system = {
            **message.system,
            "message-id": message.message_id,
            "to": f"/devices/{identity.device_id}{module}/messages/devicebound",
            "expiry-time-utc": message.expires.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "ack": message.ack.value,
        }
        return C2d(
            sequence=message.number,
            identity=identity,
            lock_token=token,
            message_id=message.message_id,
            system=system,
            properties=message.properties,
            body=message.body,
            enqueued=message.enqueued,
            expires=message.expires,
            locked_until=until,
            delivery_count=message.deliveries + 1,
        )

    def _sweep(self, messages: Sequence[Waiting], now: datetime) -> list[Waiting]:
        """End or free messages that no lock holds any longer; returns those that are free now."""
        back = []
        for message in messages:
            if message.expires <= now:
                self._end([message], End.EXPIRED, now)
            elif message.deliveries >= MAX_DELIVERIES:
                self._end([message], End.TOO_OFTEN, now)
            else:
                self._queue.unlock(message)
                back.append(message)
        return back

    def _end(self, messages: Sequence[Waiting], end: End, now: datetime) -> None:
        self._queue.delete(messages)
        for message in messages:
            if end in _HEARD[message.ack]:
                identity = message.identity
                device = self._identities.device(identity.device_id)
                record = {
                    "originalMessageId": message.message_id,
                    "description": end.value,
                    "deviceGenerationId": device.generation_id,
                    "deviceId": identity.device_id,
                    "enqueuedTimeUtc": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                    "statusCode": end.value,
                }
                self.records.put(RecordQueue.FEEDBACK, record, now)
