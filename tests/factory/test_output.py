"""Files of an image: what is published and when, and what is left of a build that was cut off."""

import json
from pathlib import Path

import pytest

from skerry_factory.output import Output, building_folder, publish


def test_half_made_files_have_a_folder_of_their_own(tmp_path: Path) -> None:
    """What a killed build left is removed by the next, and so is what a failed one made."""
    (tmp_path / ".building-dead").mkdir()
    (tmp_path / ".building-dead/x.raw").touch()

    def fail() -> None:
        with building_folder(tmp_path) as folder:
            (folder / "x.raw").touch()
            assert [path.name for path in tmp_path.iterdir()] == [folder.name]
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_appears_last(tmp_path: Path) -> None:
    """Files get their names before the manifest says that they are there."""
    with building_folder(tmp_path) as folder:
        (folder / "x.raw").write_text("disk")
        publish([Output(folder / "x.raw", "raw", "0")], {"id": "x"}, tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"id": "x"}
    times = [(tmp_path / name).stat().st_mtime_ns for name in ("x.raw", "manifest.json")]
    assert times == sorted(times)
