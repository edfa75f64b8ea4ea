"""Messages survive kill -9 at every system call that changes the database."""

import mmap
import sqlite3
from pathlib import Path

import pytest

from harness.kill_points import kill_at_every_write
from harness.lab import file_cloud
from skerry.heads.model import Telemetry
from skerry.wire.identity import Identity
from skerry_lab.cloud import Cloud
from skerry_lab.messages.model import Ack, MessageSettings, Outcome, Outgoing
from skerry_lab.messages.records import RecordQueue
from skerry_lab.registry.model import Device

DEVICE = Identity("d1")


def opened(path: Path) -> tuple[Cloud, sqlite3.Connection]:
    """Open a lab that keeps four messages."""
    return file_cloud(path, MessageSettings(keep_messages=4))


def telemetry(*bodies: bytes) -> list[Telemetry]:
    return [Telemetry(DEVICE, {}, {"a": "b"}, body * 3000) for body in bodies]


@pytest.mark.faults
def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Wherever it is killed: whole batches, messages in one place only, an end with feedback."""
    path = tmp_path / "lab.db"
    committed = mmap.mmap(-1, 1)

    def prepare() -> None:
        for file in tmp_path.iterdir():
            file.unlink()
        cloud, connection = opened(path)
        cloud.registry.put_device(Device("d1", cloud.registry.fresh_keys()))
        cloud.messages.append(telemetry(b"1", b"2", b"3"))
        connection.close()
        committed[0] = 0

    def work() -> None:
        cloud, connection = opened(path)
        messages = cloud.messages
        for number in range(1, 4):
            connection.execute("BEGIN IMMEDIATE")
            if number == 1:
                messages.append(telemetry(b"4", b"5", b"6"))
            elif number == 2:
                messages.send(Outgoing(DEVICE, b"x", ack=Ack.FULL))
            else:
                [message] = messages.next_c2d(DEVICE, 9)
                messages.settle(DEVICE, message.lock_token, Outcome.COMPLETE)
            connection.execute("COMMIT")
            committed[0] = number

    def check() -> None:
        cloud, connection = opened(path)
        kept = b"".join(event.telemetry.body[:1] for event in cloud.messages.read(0, 99, 1 << 30))
        waiting = cloud.messages.depth(DEVICE)
        feedback = len(cloud.messages.records.take(RecordQueue.FEEDBACK, 9, "t", cloud.clock.now()))
        connection.close()
        states = [(b"123", 0, 0), (b"3456", 0, 0), (b"3456", 1, 0), (b"3456", 0, 1)]
        # A commit may be on disk before it could be told, never the other way round.
        assert (kept, waiting, feedback) in states[committed[0] : committed[0] + 2]

    found = kill_at_every_write(prepare, work, check)
    assert {"write", "fsync"} <= set(found.calls)
    assert len(found.calls) > 10
