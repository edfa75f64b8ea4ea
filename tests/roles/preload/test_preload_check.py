"""The module preload_check: no archive is carried that preload.json does not vouch for."""

from pathlib import Path

import pytest

from harness.modules import run_module
from harness.preload import make_preload


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_preload(tmp_path / "preload")


def refusal(folder: Path) -> str:
    answer = run_module("preload", "preload_check", {"folder": str(folder)})
    assert answer["failed"] is True
    return str(answer["msg"])


def test_a_folder_as_the_factory_writes_it_passes(folder: Path) -> None:
    """Archives that agree with preload.json are accepted, and nothing changes."""
    answer = run_module("preload", "preload_check", {"folder": str(folder)})
    assert (answer.get("failed", False), answer["changed"]) == (False, False)


def test_a_changed_archive_is_refused(folder: Path) -> None:
    """Another content is told with both digests and what to do."""
    (folder / "agent.tar").write_bytes(b"something else")
    assert "agent.tar has sha256 " in refusal(folder)
    assert "; run: skerry-factory containers" in refusal(folder)


def test_a_missing_archive_is_refused(folder: Path) -> None:
    """An archive that preload.json names has to be there."""
    (folder / "agent.tar").unlink()
    assert refusal(folder).startswith("agent.tar is missing; ")


def test_an_archive_that_nobody_vouches_for_is_refused(folder: Path) -> None:
    """A file that preload.json does not name is not carried."""
    (folder / "other.tar").write_bytes(b"")
    assert refusal(folder).startswith("other.tar is not named in preload.json; ")


@pytest.mark.parametrize("text", ["", "{}", '{"images": [{}]}'])
def test_a_broken_list_is_refused(folder: Path, text: str) -> None:
    """A preload.json that cannot be read is told by its path."""
    (folder / "preload.json").write_text(text)
    assert refusal(folder).startswith(f"{folder}/preload.json cannot be used: ")
