"""Loads a lab over MQTT and tells rate and latencies as JSON: a program on a core of its own.

Argument: JSON of {"host", "port", "root", "hub", "devices": [[id, token]…], "seconds", "window",
"interval"}.
Packets are encoded before they are needed. Each connection keeps `window` messages under way; with
an `interval` it sends one in so many seconds at most.
"""

import asyncio
import json
import ssl
import sys
import time
from dataclasses import dataclass, field
from typing import Any, cast

from skerry.wire.mqtt import Connect, Publish, encode
from skerry.wire.topics import events_topic, user_name

_BODY = b"x" * 256


@dataclass
class Load:
    """What all connections share."""

    running: bool = False
    acknowledged: int = 0
    latencies: list[float] = field(default_factory=list)


class Device(asyncio.Protocol):
    """One connection that publishes as fast as it is acknowledged."""

    def __init__(
        self, load: Load, connect: bytes, topic: str, window: int, interval: float
    ) -> None:
        self._load = load
        self._interval = interval
        self._connect = connect
        self._packets = [encode(Publish(topic, _BODY, 1, n + 1)) for n in range(window)]
        self._sent_at = [0.0] * window
        self._buffer = b""
        self._is_open = False
        self.opened = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._connect)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_open:
            assert self._buffer[:4] == b"\x20\x02\x00\x00", self._buffer
            self._buffer = self._buffer[4:]
            self._is_open = True
            self.opened.set()
        now, again = time.perf_counter(), []
        while len(self._buffer) >= 4:
            number = int.from_bytes(self._buffer[2:4]) - 1
            self._buffer = self._buffer[4:]
            self._load.acknowledged += 1
            self._load.latencies.append(now - self._sent_at[number])
            if self._load.running and self._interval:
                wait = max(0.0, self._sent_at[number] + self._interval - now)
                asyncio.get_running_loop().call_later(wait, self._send, number)
            elif self._load.running:
                self._sent_at[number] = now
                again.append(self._packets[number])
        if again:
            self.transport.write(b"".join(again))

    def _send(self, number: int) -> None:
        self._sent_at[number] = time.perf_counter()
        self.transport.write(self._packets[number])

    def begin(self) -> None:
        """Send the first messages."""
        now = time.perf_counter()
        self._sent_at = [now] * len(self._packets)
        self.transport.write(b"".join(self._packets))


async def main(asked: dict[str, Any]) -> dict[str, float]:
    """Connect all, publish for some seconds, and tell what came of it."""
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=asked["root"])
    load, devices = Load(), []
    for device_id, token in asked["devices"]:
        name = user_name(asked["hub"], device_id, "2021-04-12")
        connect = encode(Connect(device_id, name, token.encode()))
        _, device = await loop.create_connection(
            lambda c=connect, d=device_id: Device(  # type: ignore[misc]
                load, c, events_topic(d), asked["window"], asked["interval"]
            ),
            asked["host"],
            asked["port"],
            ssl=context,
            server_hostname="localhost",
        )
        devices.append(device)
    await asyncio.gather(*(device.opened.wait() for device in devices))
    sys.stdout.write("connected\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.readline)
    load.running = True
    started = time.perf_counter()
    for number, device in enumerate(devices):
        loop.call_later(asked["interval"] * number / len(devices), device.begin)
    await asyncio.sleep(asked["seconds"])
    seconds = time.perf_counter() - started
    load.running = False
    count, latencies = load.acknowledged, sorted(load.latencies)
    await asyncio.sleep(1)
    for device in devices:
        device.transport.abort()
    return {
        "acknowledged": load.acknowledged,
        "rate": count / seconds,
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[len(latencies) * 99 // 100],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))) + "\n")
