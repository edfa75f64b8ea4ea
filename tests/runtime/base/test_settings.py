"""Merging of a service's settings files."""

from pathlib import Path

import pytest

from skerry.base.errors import SettingsError
from skerry.base.settings import load_settings, merge, settings_digest


def test_tables_merge_arrays_concatenate_scalars_replace() -> None:
    """The three rules, nested."""
    base: dict[str, object] = {"a": 1, "t": {"x": 1, "l": [1]}, "l": [{"uid": 1}]}
    over: dict[str, object] = {"a": 2, "t": {"y": 2, "l": [2]}, "l": [{"uid": 2}]}
    assert merge(base, over) == {
        "a": 2,
        "t": {"x": 1, "y": 2, "l": [1, 2]},
        "l": [{"uid": 1}, {"uid": 2}],
    }


def test_drop_ins_apply_by_name_after_the_main_file(tmp_path: Path) -> None:
    """config.toml comes first, then the drop-ins in the order of their names."""
    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.toml").write_text('a = "main"\nb = "main"\nc = "main"\n')
    (tmp_path / "config.d" / "50-late.toml").write_text('b = "late"\n')
    (tmp_path / "config.d" / "00-super.toml").write_text('b = "super"\nc = "super"\n')
    (tmp_path / "config.d" / "notes.txt").write_text("not toml")
    assert load_settings(tmp_path) == {"a": "main", "b": "late", "c": "super"}


def test_no_files_give_an_empty_table(tmp_path: Path) -> None:
    """A service may run on its defaults."""
    assert load_settings(tmp_path / "missing") == {}


def test_digest_changes_with_content_and_with_nothing_else(tmp_path: Path) -> None:
    """The digest is that of the bytes in their files."""
    (tmp_path / "config.toml").write_text("a = 1\n")
    first = settings_digest(tmp_path)
    assert settings_digest(tmp_path) == first
    (tmp_path / "config.toml").write_text("a = 2\n")
    assert settings_digest(tmp_path) != first


@pytest.mark.parametrize(
    "content", [pytest.param(b"a = \n", id="not TOML"), pytest.param(b"\xff\xfe", id="not UTF-8")]
)
def test_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    """A file that cannot be used is refused by its path."""
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"settings file .*config\.toml cannot be used"):
        load_settings(tmp_path)
