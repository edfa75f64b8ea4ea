"""The live part: notices reach links, streams reach clients, connections can be taken over."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from skerry.base.clock import SystemClock
from skerry.base.log import get_logger
from skerry.heads.http import HttpLimits, HttpServer, Upgrade
from skerry.heads.routes import Answer, Request, Stream
from skerry.wire.identity import Identity
from skerry_lab.live import Changes, Live
from skerry_lab.outbox import Kind, Notice
from skerry_lab.server import RUNNING_FILE, Lab
from skerry_lab.store import Store

DEVICE, MODULE, OTHER = Identity("d"), Identity("d", "m"), Identity("e")
LOG = get_logger("lab")
WAIT_SECONDS = 10.0


class Told:
    """A link that puts what it is told into one queue with the others."""

    expires_at: float | None = None

    def __init__(self, identity: Identity, told: asyncio.Queue[tuple[str, str]]) -> None:
        self.identity = identity
        self._told = told

    def desired(self, version: int, patch: Mapping[str, object]) -> None:
        self._told.put_nowait((str(self.identity), f"desired {version} {patch}"))

    def messages_waiting(self) -> None:
        self._told.put_nowait((str(self.identity), "c2d"))

    def identity_changed(self) -> None:
        self._told.put_nowait((str(self.identity), "identity"))

    async def call(self, name: str, payload: bytes, timeout_seconds: float) -> tuple[int, bytes]:
        return 200, b""

    def close(self, reason: str) -> None: ...


async def hear(server: Store, writer: Store, notices: list[Notice], count: int) -> list[str]:
    """Return what links of a server hear of notices that `writer` puts."""
    live = Live(server, LOG)
    told: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    for identity in (DEVICE, MODULE, OTHER):
        live.links.add(Told(identity, told))
    running = asyncio.create_task(live.run())
    await asyncio.sleep(0)
    await server.data_version()
    for notice in notices:
        await writer.ado(lambda cloud, notice=notice: cloud.outbox.put(notice))  # type: ignore[misc]
    async with asyncio.timeout(WAIT_SECONDS):
        heard = [" ".join(await told.get()) for _ in range(count)]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert told.empty()
    return heard


NOTICES = [
    Notice(Kind.DESIRED, MODULE, {"version": 2, "patch": {"a": 1}}),
    Notice(Kind.C2D, OTHER),
    Notice(Kind.C2D, Identity("nobody")),
    Notice(Kind.IDENTITY, MODULE),
    Notice(Kind.IDENTITY, DEVICE),
]
HEARD = ["d/m desired 2 {'a': 1}", "e c2d", "d/m identity", "d identity", "d/m identity"]


def test_links_hear_of_changes_that_concern_them(tmp_path: Path) -> None:
    """In order; what happens to a device happens to its modules."""
    store = Store(tmp_path)
    try:
        assert asyncio.run(hear(store, store, NOTICES, len(HEARD))) == HEARD
    finally:
        store.close()


def test_links_hear_of_changes_of_another_process(tmp_path: Path) -> None:
    """A second store of the same folder, as a verb opens it."""
    server, verb = Store(tmp_path), Store(tmp_path)
    try:
        assert asyncio.run(hear(server, verb, NOTICES, len(HEARD))) == HEARD
    finally:
        server.close()
        verb.close()


def test_who_waits_for_news_misses_none() -> None:
    """A commit between looking and waiting ends the wait at once."""

    async def scenario() -> None:
        changes = Changes()
        seen = changes.count
        changes.notify()
        async with asyncio.timeout(WAIT_SECONDS):
            await changes.wait(seen, 3600)
        await changes.wait(changes.count, 0.01)
        waiting = asyncio.create_task(changes.wait(changes.count, 3600))
        await asyncio.sleep(0)
        changes.notify()
        async with asyncio.timeout(WAIT_SECONDS):
            await waiting

    asyncio.run(scenario())


async def _numbers(ended: list[bool]) -> AsyncGenerator[bytes, None]:
    try:
        for number in range(3):
            yield b"%d\n" % number
    finally:
        ended.append(True)


async def _serve(handle: Answer | Stream, sent: bytes, upgrade: Upgrade | None = None) -> bytes:
    """Return what a server of one answer says to a request."""

    async def answer(request: Request) -> Answer | Stream:
        return handle

    http = HttpServer(answer, HttpLimits(), SystemClock(), LOG, upgrade)
    server = await asyncio.start_server(http.connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(WAIT_SECONDS):
        got = await reader.read()
    writer.close()
    server.close()
    await http.close()
    return got


def test_a_stream_is_sent_as_it_comes() -> None:
    """Chunks, then the end; the generator is closed."""
    ended: list[bool] = []
    stream = Stream(_numbers(ended), {"content-type": "text/event-stream"})
    got = asyncio.run(_serve(stream, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-type: text/event-stream" in head
    assert body == b"2\r\n0\n\r\n2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\n"
    assert ended == [True]


_ASKS = (
    b"GET /$iothub/websocket HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\n\r\nfirst"
)


def test_a_connection_can_be_taken_over() -> None:
    """The request and what followed it go to whoever speaks the other protocol."""

    async def echo(
        request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rest: bytes
    ) -> None:
        writer.write(request.path.encode() + b" " + rest)

    got = asyncio.run(_serve(Answer(404), _ASKS, echo))
    assert got == b"/$iothub/websocket first"


def test_without_another_protocol_it_is_a_request_like_any() -> None:
    """The answer says that there is nothing."""
    got = asyncio.run(_serve(Answer(404), _ASKS.replace(b"Upgrade\r\n", b"Upgrade, close\r\n", 1)))
    assert got.startswith(b"HTTP/1.1 404")


def test_a_client_that_goes_ends_its_stream() -> None:
    """The generator is closed though it has more to say."""

    async def scenario() -> None:
        ended = asyncio.Event()

        async def endless() -> AsyncGenerator[bytes, None]:
            try:
                while True:
                    yield b"x" * 65536
                    await asyncio.sleep(0)
            finally:
                ended.set()

        async def answer(request: Request) -> Answer | Stream:
            return Stream(endless())

        http = HttpServer(answer, HttpLimits(), SystemClock(), LOG)
        server = await asyncio.start_server(http.connected, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readexactly(1000)
        writer.transport.abort()
        async with asyncio.timeout(WAIT_SECONDS):
            await ended.wait()
        server.close()
        await http.close()

    asyncio.run(scenario())


def test_the_facts_of_a_running_lab_are_in_its_folder(tmp_path: Path) -> None:
    """While it serves, for the verbs, and not afterwards."""
    file = tmp_path / RUNNING_FILE
    with Lab(tmp_path) as lab:
        found = json.loads(file.read_text())
        assert file.stat().st_mode & 0o777 == 0o600
    assert (found["hub"], found["https_port"]) == (lab.hub_name, lab.https_port)
    assert set(found) == {"pid", "hub", "https_port", "mqtt_port"}
    assert not file.exists()
