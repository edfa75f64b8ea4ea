"""The hub's certificate: got from edged, renewed under connections that stay."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.workload import VERSION, FakeWorkload
from harness.lab import SetClock
from skerry.base.log import get_logger
from skerry.hub.server_certificate import ServerIdentity
from skerry.module.errors import WorkloadError
from skerry.module.workload import WorkloadClient


def identity_of(folder: Path, clock: SetClock) -> ServerIdentity:
    workload = WorkloadClient(folder / "w.sock", VERSION, "$edgeHub", "7")
    return ServerIdentity(workload, "localhost", clock, get_logger("hub"))


@pytest.fixture
def clock() -> SetClock:
    return SetClock(datetime.now(UTC))


@pytest.fixture
def fake() -> FakeWorkload:
    return FakeWorkload(module="$edgeHub", days=10)


async def served_by(server: asyncio.Server, trusted: str) -> tuple[asyncio.StreamWriter, bytes]:
    """Connect; returns the connection and the certificate that was shown."""
    context = ssl.create_default_context(cadata=trusted)
    port = server.sockets[0].getsockname()[1]
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return writer, shown


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)


def test_a_renewal_drops_no_connection(tmp_path: Path, fake: FakeWorkload, clock: SetClock) -> None:
    """Who is connected stays so under the old certificate; the next one sees the new."""

    async def check() -> None:
        identity = identity_of(tmp_path, clock)
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=await identity.open())
        async with server:
            old, first = await served_by(server, fake.authority.pem)
            await identity.renew()
            assert len(fake.served) == 1
            clock.move(timedelta(days=6, minutes=1).total_seconds())
            await identity.renew()
            assert len(fake.served) == 2
            new, second = await served_by(server, fake.authority.pem)
            assert first != second
            old.write(b"still here")
            await old.drain()
            old.close()
            new.close()

    with fake.serving(tmp_path / "w.sock"):
        asyncio.run(check())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_only_versions_that_are_allowed_are_spoken(
    tmp_path: Path, fake: FakeWorkload, clock: SetClock, version: ssl.TLSVersion
) -> None:
    """A client that knows the other one only is turned away."""
    other = {ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3} - {version}

    async def handshake(port: int, spoken: ssl.TLSVersion) -> str:
        context = ssl.create_default_context(cadata=fake.authority.pem)
        context.minimum_version = context.maximum_version = spoken
        _, writer = await asyncio.open_connection("localhost", port, ssl=context)
        found = str(writer.get_extra_info("ssl_object").version())
        writer.close()
        return found

    async def check() -> None:
        workload = WorkloadClient(tmp_path / "w.sock", VERSION, "$edgeHub", "7")
        month, log = timedelta(days=30), get_logger("hub")
        identity = ServerIdentity(workload, "localhost", clock, log, month, (version, version))
        server = await asyncio.start_server(echo, "localhost", 0, ssl=await identity.open())
        async with server:
            port = server.sockets[0].getsockname()[1]
            assert (await handshake(port, version)).replace("v1.", "v1_") == version.name
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await handshake(port, other.pop())

    with fake.serving(tmp_path / "w.sock"):
        asyncio.run(check())


def test_a_certificate_may_be_used_for_less_than_it_holds(
    tmp_path: Path, fake: FakeWorkload, clock: SetClock
) -> None:
    """Then it is replaced after that time."""
    workload = WorkloadClient(tmp_path / "w.sock", VERSION, "$edgeHub", "7")
    hour = timedelta(hours=1)
    identity = ServerIdentity(workload, "localhost", clock, get_logger("hub"), hour)

    async def check() -> None:
        await identity.open()
        for minutes, served in ((59, 1), (1, 2), (59, 2)):
            clock.move(minutes * 60)
            await identity.renew()
            assert len(fake.served) == served

    with fake.serving(tmp_path / "w.sock"):
        asyncio.run(check())


def test_what_is_refused_keeps_the_former_certificate(
    tmp_path: Path, fake: FakeWorkload, clock: SetClock
) -> None:
    """A key of another certificate, one that has ended, a bundle that is none: named, not used."""

    async def check() -> None:
        identity = identity_of(tmp_path, clock)
        context = await identity.open()
        clock.move(timedelta(days=9).total_seconds())
        good = {"certificate": fake.served[0], "privateKey": {"type": "key", "bytes": "x"}}
        later = (clock.now() + timedelta(days=9)).isoformat()
        for answer, said in (
            ({**good, "expiration": later}, "is not used"),
            ({**good, "expiration": "2020-01-01T00:00:00Z"}, "that ended at 2020"),
            ({**good, "expiration": "soon"}, "no time"),
            (["nothing"], "without 'expiration'"),
        ):
            fake.answers["server"] = answer
            with pytest.raises(WorkloadError, match=said):
                await identity.renew()
        fake.answers["trust-bundle"] = {"certificate": "-----BEGIN"}
        with pytest.raises(WorkloadError, match="trust bundle cannot be read"):
            await identity.renew()
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
        async with server:
            writer, _ = await served_by(server, fake.authority.pem)
            writer.close()

    with fake.serving(tmp_path / "w.sock"):
        asyncio.run(check())


def test_a_device_without_a_bundle_trusts_nobody_more(
    tmp_path: Path, fake: FakeWorkload, clock: SetClock
) -> None:
    """There are no anchors then, and that is no error."""
    fake.refusals["trust-bundle"] = (404, "there is no trust bundle")

    async def check() -> None:
        identity = identity_of(tmp_path, clock)
        await identity.open()
        assert (identity.bundle, list(identity.anchors)) == ("", [])

    with fake.serving(tmp_path / "w.sock"):
        asyncio.run(check())
