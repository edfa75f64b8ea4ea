"""The event stream: `GET /skerry/events` (server-sent events)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness.lab import HUB, Hosted
from skerry.base.log import get_logger
from skerry.heads.model import Telemetry
from skerry.heads.routes import Answer, Request, Stream
from skerry.wire.identity import Identity
from skerry_lab.live import Changes, Live
from skerry_lab.messages import events
from skerry_lab.messages.events import EventsApi, event_json
from skerry_lab.messages.model import MessageSettings
from skerry_lab.store import Store

WAIT_SECONDS = 10.0
DEVICE, MODULE = Identity("d1"), Identity("d1", "m1")
Scenario = Callable[[Live], Awaitable[None]]


def message(body: bytes, identity: Identity = DEVICE) -> Telemetry:
    return Telemetry(identity, {}, {}, body)


def append(lab: Hosted, *batch: Telemetry) -> None:
    lab.store.do(lambda cloud: cloud.messages.append(batch))


def request(lab: Hosted, policy: str = "service", **query: str) -> Request:
    found = lab.store.do(lambda cloud: cloud.policies.get(policy))
    assert found is not None
    token = lab.token(HUB, found.keys[0], policy)
    return Request("GET", "/skerry/events", query, {"authorization": token})


def live(lab: Hosted, scenario: Scenario) -> None:
    """Run a scenario while the hub's live part runs."""

    async def run() -> None:
        one = Live(lab.store, get_logger("test"))
        running = asyncio.create_task(one.run())
        async with asyncio.timeout(WAIT_SECONDS):
            await scenario(one)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())


async def opened(one: Live, asked: Request) -> AsyncGenerator[bytes, None]:
    stream = await one.answer(asked)
    assert isinstance(stream, Stream), stream
    assert stream.headers["content-type"] == "text/event-stream"
    assert await anext(stream.chunks) == b": events\n\n"
    return stream.chunks


async def bodies(chunks: AsyncGenerator[bytes, None], count: int) -> list[object]:
    """Return the bodies of the next events."""
    found: list[object] = []
    while len(found) < count:
        text = (await anext(chunks)).decode()
        found += [
            json.loads(line.removeprefix("data: "))["body"]
            for line in text.splitlines()
            if line.startswith("data: {")
        ]
    return found


def test_an_event_is_one_json_object(hosted: Hosted) -> None:
    """With what the hub adds and the sender's properties; nobody passes for another."""
    device = hosted.registry.create_device("d1")
    system = {
        "message-id": "7",
        "content-type": "application/json",
        "creation-time-utc": "t",
        "connection-device-id": "other",
    }
    append(hosted, Telemetry(DEVICE, system, {"k": "v"}, "ä".encode()), message(b"\xff", MODULE))
    first, second = hosted.store.do(lambda c: [event_json(e) for e in c.messages.read(0, 9, 999)])
    assert first == {
        "offset": 1,
        "deviceId": "d1",
        "moduleId": None,
        "enqueuedTime": "2026-11-23T12:00:00.000Z",
        "systemProperties": {
            "iothub-connection-device-id": "d1",
            "iothub-connection-auth-method": '{"scope":"device","type":"sas","issuer":"iothub",'
            '"acceptingIpFilterRule":null}',
            "iothub-connection-auth-generation-id": device.generation_id,
            "iothub-enqueuedtime": "2026-11-23T12:00:00.000Z",
            "iothub-message-source": "Telemetry",
            "message-id": "7",
            "content-type": "application/json",
            "iothub-creation-time-utc": "t",
        },
        "properties": {"k": "v"},
        "body": "ä",
        "bodyEncoding": "utf-8",
    }
    assert (second["body"], second["bodyEncoding"], second["moduleId"]) == ("/w==", "base64", "m1")
    assert isinstance(second["systemProperties"], Mapping)
    assert second["systemProperties"]["iothub-connection-module-id"] == "m1"


def test_a_reader_gets_what_comes(hosted: Hosted) -> None:
    """From now on without more, from the beginning, or from an offset."""
    append(hosted, message(b"1"), message(b"2"))

    async def scenario(one: Live) -> None:
        latest = await opened(one, request(hosted))
        earliest = await opened(one, request(hosted, **{"from": "earliest"}))
        second = await opened(one, request(hosted, **{"from": "2"}))
        assert await bodies(earliest, 2) == ["1", "2"]
        await hosted.store.ado(lambda cloud: cloud.messages.append([message(b"3")]))
        assert await bodies(latest, 1) == ["3"]
        assert await bodies(earliest, 1) == ["3"]
        assert await bodies(second, 2) == ["2", "3"]

    live(hosted, scenario)


def test_a_reader_that_returns_misses_nothing(hosted: Hosted) -> None:
    """`Last-Event-ID` counts more than `from`; an offset that is not there yet is the end."""
    append(hosted, *(message(b"%d" % number) for number in range(1200)))

    async def scenario(one: Live) -> None:
        asked = request(hosted, **{"from": "earliest"})
        first = await bodies(await opened(one, asked), 600)
        last = {**asked.headers, "last-event-id": str(len(first))}
        rest = await bodies(await opened(one, replace(asked, headers=last)), 1200 - len(first))
        assert first + rest == [str(number) for number in range(1200)]
        ahead = {**asked.headers, "last-event-id": "99999"}
        chunks = await opened(one, replace(asked, headers=ahead))
        await hosted.store.ado(lambda cloud: cloud.messages.append([message(b"new")]))
        assert await bodies(chunks, 1) == ["new"]

    live(hosted, scenario)


def test_a_reader_may_choose(hosted: Hosted) -> None:
    """One device, one module."""
    other = Identity("d2", "m1")
    append(hosted, message(b"d"), message(b"m", MODULE), message(b"o", other))

    async def scenario(one: Live) -> None:
        start = {"from": "earliest"}
        device = await opened(one, request(hosted, deviceId="d1", **start))
        assert await bodies(device, 2) == ["d", "m"]
        module = await opened(one, request(hosted, deviceId="d1", moduleId="m1", **start))
        assert await bodies(module, 1) == ["m"]

    live(hosted, scenario)


def test_what_is_gone_is_told(tmp_path: Path) -> None:
    """A reader whose place was trimmed away learns how much it missed."""
    lab = Hosted(tmp_path)
    lab.store.close()
    lab.store = Store(tmp_path, clock=lab.clock, messages=MessageSettings(keep_messages=2))
    append(lab, *(message(b"%d" % number) for number in range(1, 6)))

    async def scenario(one: Live) -> None:
        asked = request(lab)
        chunks = await opened(one, replace(asked, headers={**asked.headers, "last-event-id": "1"}))
        assert await anext(chunks) == b'event: gap\ndata: {"missing":2}\n\n'
        assert await bodies(chunks, 2) == ["4", "5"]
        chunks = await opened(one, request(lab, **{"from": "earliest"}))
        assert await bodies(chunks, 2) == ["4", "5"]

    live(lab, scenario)
    lab.store.close()


def test_silence_is_filled(hosted: Hosted) -> None:
    """A comment now and then, so that both sides know that the other lives."""

    async def scenario() -> None:
        api = EventsApi(hosted.store, Changes(), heartbeat_seconds=0.001)
        stream = await api.stream(request(hosted))
        async with asyncio.timeout(WAIT_SECONDS), contextlib.aclosing(stream.chunks) as chunks:
            said = [await anext(chunks) for _ in range(3)]
        assert said == [b": events\n\n", b": nothing new\n\n", b": nothing new\n\n"]

    asyncio.run(scenario())


def test_readers_are_limited(hosted: Hosted) -> None:
    """Beyond the most there may be it is 429, until one has gone."""

    async def scenario(one: Live) -> None:
        readers = [await opened(one, request(hosted)) for _ in range(events.MAX_READERS)]
        refused = await one.answer(request(hosted))
        assert (refused.status, b"readers of events" in getattr(refused, "body", b"")) == (
            429,
            True,
        )
        await readers[0].aclose()
        await opened(one, request(hosted))

    live(hosted, scenario)


@pytest.mark.parametrize(
    ("policy", "query", "status", "text"),
    [
        ("service", {"from": "soon"}, 400, b"from is 'soon', expected an offset"),
        ("service", {"from": "-1"}, 400, b"from is '-1'"),
        ("device", {}, 403, b"does not have the right ServiceConnect"),
    ],
)
def test_what_is_refused(
    hosted: Hosted, policy: str, query: dict[str, str], status: int, text: bytes
) -> None:
    """A start that is none, and a policy that is not for services."""

    async def scenario(one: Live) -> None:
        answer = await one.answer(request(hosted, policy, **query))
        assert isinstance(answer, Answer)
        assert answer.status == status
        assert text in answer.body

    live(hosted, scenario)
