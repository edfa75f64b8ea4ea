"""The module file_set: many small files in one step, each whole or not at all."""

from pathlib import Path
from typing import Any

from harness.modules import run_module


def file_set(files: list[dict[str, object]], *, check: bool = False) -> dict[str, Any]:
    return run_module("base", "file_set", {"files": files}, check=check)


def test_files_links_and_folders_are_made(tmp_path: Path) -> None:
    """One call writes files with their mode, links, and the folders above them."""
    path, link = tmp_path / "a" / "b" / "file", tmp_path / "link"
    answer = file_set(
        [
            {"path": str(path), "content": "one\n", "mode": "0640"},
            {"path": str(link), "link": "a/b/file"},
        ]
    )
    assert answer["changed"] is True
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("one\n", 0o640)
    assert (link.read_text(), path.parent.stat().st_mode & 0o777) == ("one\n", 0o755)


def test_the_second_call_changes_nothing(tmp_path: Path) -> None:
    """A call over its own result changes nothing."""
    files: list[dict[str, object]] = [
        {"path": str(tmp_path / "file"), "content": "one\n"},
        {"path": str(tmp_path / "link"), "link": "file"},
        {"path": str(tmp_path / "gone"), "content": "", "present": False},
    ]
    file_set(files)
    assert file_set(files)["changed"] is False


def test_check_mode_tells_and_writes_nothing(tmp_path: Path) -> None:
    """Check mode shows the difference, also where the folder is not there yet."""
    path = tmp_path / "a" / "file"
    answer = file_set([{"path": str(path), "content": "one\n"}], check=True)
    assert (answer["changed"], answer["diff"][0]["after"]) == (True, "one\n")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_mode_is_repaired(tmp_path: Path) -> None:
    """The mode is part of the state, not only the content."""
    path = tmp_path / "file"
    path.write_text("one\n")
    path.chmod(0o666)
    assert file_set([{"path": str(path), "content": "one\n"}])["changed"] is True
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_file_that_must_not_be_is_removed(tmp_path: Path) -> None:
    """`present: false` removes the file."""
    path = tmp_path / "file"
    path.touch()
    file_set([{"path": str(path), "content": "", "present": False}])
    assert not path.exists()


def test_refused_content_leaves_the_former_file(tmp_path: Path) -> None:
    """What its checker refuses is not written, and nothing temporary is left."""
    path = tmp_path / "file"
    path.write_text("good\n")
    answer = file_set([{"path": str(path), "content": "bad\n", "validate": ["grep", "-q", "good"]}])
    assert answer["failed"] is True
    assert answer["msg"].startswith(f"new content of {path} is refused")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "good\n"
