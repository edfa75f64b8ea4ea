"""Images as they are given: each form of the same disk has the same contents."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from harness.disks import small_disk
from skerry_factory.cli import run
from skerry_factory.contents.opening import opened
from skerry_factory.errors import FactoryError


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with a loader, a root and a data partition."""
    trees = {"esp": {"loader.conf": "esp"}, "root-a": {"etc-file": "root-a"}}
    return small_disk(tmp_path_factory.mktemp("disk"), {**trees, "data": {"kept": "data"}})


@pytest.mark.parametrize("form", ["raw", "qcow2", "vmdk", "raw.zst"])
def test_every_form_of_a_disk_is_read(form: str, disk: Path, tmp_path: Path) -> None:
    """Root, data below `data`, and the files of the system partition are there."""
    file = tmp_path / f"copy.{form}"
    if form == "raw.zst":
        subprocess.run(["zstd", "-q", str(disk), "-o", str(file)], check=True, timeout=30)
    else:
        command = ["qemu-img", "convert", "-O", form, str(disk), str(file)]
        subprocess.run(command, check=True, timeout=30)
    with opened(file) as found:
        assert found.text("etc-file") == "root-a"
        assert found.text("data/kept") == "data"
        assert found.boot == {"loader.conf": b"esp"}
        assert [part.name for part in found.partitions] == ["esp", "root-a", "data"]


def test_a_build_is_its_raw_disk(disk: Path, tmp_path: Path) -> None:
    """The folder of a build stands for the disk that its manifest names."""
    (tmp_path / "x.raw").symlink_to(disk)
    (tmp_path / "manifest.json").write_text('{"outputs": [{"file": "x.raw", "format": "raw"}]}')
    with opened(tmp_path) as found:
        assert found.text("etc-file") == "root-a"


def test_an_archive_is_like_its_tree(tmp_path: Path) -> None:
    """A tar archive and the tree it was made of have the same entries."""
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/a").write_text("content")
    (tree / "etc/b").symlink_to("a")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tree, "./")
    with opened(tree) as first, opened(tmp_path / "x.tar") as second:
        assert first.entries == second.entries
        assert second.text("etc/a") == "content"


def test_what_is_no_image_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing, and something else: the reason, and status 2 of `diff`."""
    (tmp_path / "x.raw").write_bytes(bytes(4096))
    (tmp_path / "x.tar").write_bytes(b"x" * 4096)
    with pytest.raises(FactoryError, match="no GUID partition table"), opened(tmp_path / "x.raw"):
        pass
    with pytest.raises(FactoryError, match="no tar archive"), opened(tmp_path / "x.tar"):
        pass
    absent = str(tmp_path / "absent")
    assert run(["diff", absent, absent]) == 2
    assert "absent does not exist; expected a disk" in capsys.readouterr().err
