"""What the hub keeps of its clients: on disk only as edged's key makes it."""

import asyncio
import os
from pathlib import Path

import pytest

from fakes.workload import VERSION, FakeWorkload
from harness.stores import opened
from skerry.base.log import get_logger
from skerry.hub.sealing import open_documents
from skerry.hub.store.store import Store
from skerry.module.workload import WorkloadClient

SECRET = b"c2VjcmV0IGtleSBvZiBhIG1vZHVsZQ=="


@pytest.fixture
def fake() -> FakeWorkload:
    return FakeWorkload(module="$edgeHub")


def unseal(store: Store, fake: FakeWorkload, folder: Path) -> None:
    """Have the documents of a store encrypted, as the service does."""
    workload = WorkloadClient(folder / "w.sock", VERSION, "$edgeHub", "7")
    with fake.serving(folder / "w.sock"):
        log = get_logger("hub")
        asyncio.run(open_documents(store.documents, workload, os.urandom, log))


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("hub.db*")))


def test_keys_of_clients_are_not_on_disk_in_the_clear(tmp_path: Path, fake: FakeWorkload) -> None:
    """And are read back after a restart, by the key that edged decrypts."""
    with opened(tmp_path / "store") as store:
        unseal(store, fake, tmp_path)
        store.documents.put("hub", "scope", SECRET).result()
        store.documents.put("twin", "edge/a", SECRET).result()
    assert SECRET not in on_disk(tmp_path / "store")
    with opened(tmp_path / "store") as store:
        assert store.documents.get("hub", "scope") not in (None, SECRET)
        unseal(store, fake, tmp_path)
        assert store.documents.get("hub", "scope") == SECRET
        assert store.documents.all("twin") == {"edge/a": SECRET}


@pytest.mark.parametrize("at", [0, 1, 5, 20, -1])
def test_a_damaged_document_is_named_and_counts_as_absent(
    tmp_path: Path, fake: FakeWorkload, caplog: pytest.LogCaptureFixture, at: int
) -> None:
    """Wherever a bit has changed; the others are read."""
    with opened(tmp_path / "store") as store:
        unseal(store, fake, tmp_path)
        store.documents.put("twin", "edge/a", SECRET).result()
        store.documents.put("twin", "edge/b", SECRET).result()
        with store._reading() as connection:
            kept = bytearray(
                connection.execute("SELECT value FROM document WHERE key = 'edge/a'").fetchone()[0]
            )
        kept[at] ^= 4
        store._submit(
            lambda change: change.connection.execute(
                "UPDATE document SET value = ? WHERE key = 'edge/a'", (bytes(kept),)
            ).close()
        ).result()
        assert store.documents.get("twin", "edge/a") is None
        assert store.documents.all("twin") == {"edge/b": SECRET}
    assert "a kept document is damaged; it is fetched anew" in caplog.text
    assert "edge/a" in caplog.text


def test_a_document_is_bound_to_its_place(tmp_path: Path, fake: FakeWorkload) -> None:
    """One client's twin cannot be passed off as another's."""
    with opened(tmp_path / "store") as store:
        unseal(store, fake, tmp_path)
        store.documents.put("twin", "edge/a", SECRET).result()
        store._submit(
            lambda change: change.connection.execute("UPDATE document SET key = 'b'").close()
        ).result()
        assert store.documents.get("twin", "b") is None


def test_a_key_that_edged_does_not_know_any_more_is_replaced(
    tmp_path: Path, fake: FakeWorkload, caplog: pytest.LogCaptureFixture
) -> None:
    """The hub starts with nothing kept instead of not starting."""
    with opened(tmp_path / "store") as store:
        unseal(store, fake, tmp_path)
        store.documents.put("hub", "scope", SECRET).result()
    fake.master = bytes(range(32))
    with opened(tmp_path / "store") as store:
        unseal(store, fake, tmp_path)
        assert store.documents.get("hub", "scope") is None
        store.documents.put("hub", "scope", SECRET).result()
    with opened(tmp_path / "store") as store:
        unseal(store, fake, tmp_path)
        assert store.documents.get("hub", "scope") == SECRET
    assert "the key of the hub's documents cannot be used any more" in caplog.text


@pytest.mark.parametrize("kept", [b"", b"[]", b'{"iv": 5}', b'{"iv": "*", "key": "*"}'])
def test_a_damaged_key_is_replaced(
    tmp_path: Path, fake: FakeWorkload, caplog: pytest.LogCaptureFixture, kept: bytes
) -> None:
    """Whatever stands in its place."""
    with opened(tmp_path / "store") as store:
        store.documents.put("hub", "key", kept).result()
        unseal(store, fake, tmp_path)
        store.documents.put("hub", "scope", SECRET).result()
        assert store.documents.get("hub", "scope") == SECRET
    assert "is damaged" in caplog.text


def test_a_trouble_of_edged_that_may_pass_replaces_nothing(
    tmp_path: Path, fake: FakeWorkload, caplog: pytest.LogCaptureFixture
) -> None:
    """keyd is away: the hub says so and waits."""
    with opened(tmp_path / "store") as store:
        unseal(store, fake, tmp_path)
        store.documents.put("hub", "scope", SECRET).result()
    fake.refusals["decrypt"] = (500, "keyd is away")
    with opened(tmp_path / "store") as store:
        with pytest.raises(TimeoutError):
            asyncio.run(_for_a_moment(store, fake, tmp_path))
        fake.refusals.clear()
        unseal(store, fake, tmp_path)
        assert store.documents.get("hub", "scope") == SECRET
    assert "keyd is away" in caplog.text


async def _for_a_moment(store: Store, fake: FakeWorkload, folder: Path) -> None:
    workload = WorkloadClient(folder / "w.sock", VERSION, "$edgeHub", "7")
    with fake.serving(folder / "w.sock"):
        async with asyncio.timeout(0.5):
            await open_documents(store.documents, workload, os.urandom, get_logger("hub"))
