"""`skerry hub queues|peek|purge|trace`, beside a running hub and without one."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from harness.stores import bodies, finish, opened, put, take, total
from skerry.cli.main import run
from skerry.hub.store.model import Target

INPUT = Target("edge/a/in", 3)


def told(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> Any:
    """Return what a verb prints as JSON."""
    arguments = ["hub", *words, "--store", str(folder), "--output", "json"]
    assert run(arguments) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_queues_of_a_hub_that_is_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Read from the database; nobody is asked."""
    with opened(tmp_path) as store:
        put(store, b"1", b"2")
        put(store, b"3", to=[INPUT])
    found = told(capsys, tmp_path, "queues")
    assert found["store"] is None
    assert [(each["endpoint"], each["priority"], each["length"]) for each in found["queues"]] == [
        ("edge/a/in", 3, 1),
        ("upstream", 2_000_000_000, 2),
    ]
    assert run(["hub", "queues", "--store", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "ENDPOINT",
        "PRIORITY",
        "WAITING",
        "BYTES",
        "OLDEST",
        "IN/S",
        "OUT/S",
    ]
    assert lines[2].split()[:3] == ["upstream", "default", "2"]


def test_queues_of_a_running_hub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The hub itself answers, with what is on its way and how the store is."""
    with opened(tmp_path) as store:
        put(store, b"1", b"2")
        take(store, limit=1)
        found = told(capsys, tmp_path, "queues")
        assert (found["queues"][0]["length"], found["queues"][0]["in_flight"]) == (2, 1)
        assert found["store"]["problems"] == []


def test_a_damaged_store_that_was_moved_aside_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the queues, with its size."""
    (tmp_path / "hub.db").write_bytes(b"no database" * 1000)
    with opened(tmp_path):
        assert run(["hub", "queues", "--store", str(tmp_path)]) == 0
        said = f"warning: {tmp_path}/quarantine-1 holds a damaged store, 11000 bytes\n"
        assert capsys.readouterr().err == said


def test_peek_shows_what_goes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole as JSON, the beginning as text."""
    with opened(tmp_path) as store:
        put(store, b'{"t": 1}\x00', b"x" * 500)
        (first, _) = told(capsys, tmp_path, "peek", "upstream")["messages"]
        assert base64.b64decode(first["body"]) == b'{"t": 1}\x00'
        assert first["properties"] == {"colour": "grün"}
        assert run(["hub", "peek", "upstream", "--store", str(tmp_path)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[1].endswith('edge/sender  9      {"t": 1}·')
        assert lines[2].endswith("x" * 59 + "…")
        assert len(take(store)) == 2


def test_purge_by_a_running_hub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The hub drops it, and does not hand it out any more."""
    with opened(tmp_path) as store:
        put(store, b"1", b"2")
        assert told(capsys, tmp_path, "purge", "upstream") == {"purged": 2}
        assert take(store) == []
        assert total(store, "dropped", "purged") == 2
        assert run(["hub", "purge", "nowhere", "--store", str(tmp_path)]) == 1
        assert "there is no queue 'nowhere'" in capsys.readouterr().err


def test_purge_without_a_hub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Done by the command itself, one priority when asked."""
    with opened(tmp_path) as store:
        put(store, b"1")
        put(store, b"2", to=[Target("upstream", 3)])
    assert run(["hub", "purge", "upstream", "--priority", "3", "--store", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "1 messages dropped\n"
    with opened(tmp_path) as store:
        assert bodies(take(store)) == [b"1"]


def test_trace_tells_what_became_of_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Event by event; an unknown one is said to be so."""
    with opened(tmp_path) as store:
        put(store, b"1")
        (entry,) = take(store)
        finish(store, [entry])
    found = told(capsys, tmp_path, "trace", entry.message.id)
    assert [each["kind"] for each in found["events"]] == ["received", "stored", "delivered"]
    assert run(["hub", "trace", entry.message.id, "--store", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith(f"{entry.message.id} from edge/sender\n")
    assert run(["hub", "trace", "0", "--store", str(tmp_path)]) == 1
    assert "the ledger knows no message '0'" in capsys.readouterr().err


def test_a_folder_without_a_store_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is made there."""
    assert run(["hub", "queues", "--store", str(tmp_path)]) == 1
    assert f"{tmp_path} holds no store of a hub" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
