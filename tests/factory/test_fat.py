"""Seeds as FAT file systems: what is put in is what mtools and the kernel's checker find."""

import subprocess
from pathlib import Path

import pytest

from harness.small_image import files_of_fat
from skerry_factory.errors import FactoryError
from skerry_factory.fat import EmptyVolume, filled
from skerry_factory.filesystems import make_fat

SIZE = 64 << 20


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> EmptyVolume:
    folder = tmp_path_factory.mktemp("fat")
    (folder / "tree").mkdir()
    image = folder / "empty.img"
    make_fat(image, folder / "tree", size_bytes=SIZE, bits=16, label="SKERRY-SEED", own="1234abcd")
    return EmptyVolume.read(image.read_bytes())


def stored(data: bytes, folder: Path) -> Path:
    file = folder / "seed.img"
    file.write_bytes(data)
    with file.open("r+b") as stream:
        stream.truncate(SIZE)
    return file


FILES = {
    "config.toml": b'hostname = "x"\n',
    "manifest.json": b"{}",
    "empty": b"",
    "authorized_keys": b"k" * 5000,
    "secrets/a-name-that-is-much-longer-than-eight-and-three.pem": b"p" * 70000,
    "secrets/exactly-13.ch": b"1",
    "network/10-lan.network": b"[Match]\n",
    **{f"secrets/many-{number:02}": bytes([number]) * number * 300 for number in range(40)},
}


def test_the_files_are_what_was_given(volume: EmptyVolume, tmp_path: Path) -> None:
    """Long names, folders, files of no and of many clusters come back as they were."""
    assert files_of_fat(stored(filled(volume, FILES), tmp_path)) == FILES


def test_the_file_system_is_without_fault(volume: EmptyVolume, tmp_path: Path) -> None:
    """The checker finds nothing to repair, and the label is still there."""
    file = stored(filled(volume, FILES), tmp_path)
    subprocess.run(["fsck.vfat", "-n", file], check=True, capture_output=True)
    assert "SKERRY-SEED" in subprocess.check_output(["mlabel", "-s", "-i", file], text=True)


def test_the_order_of_the_files_does_not_matter(volume: EmptyVolume) -> None:
    """The same files give the same bytes."""
    assert filled(volume, FILES) == filled(volume, dict(reversed(FILES.items())))


def test_too_much_is_refused(volume: EmptyVolume) -> None:
    """What does not fit is told with what would."""
    with pytest.raises(FactoryError, match=r"do not fit on a seed; expected at most \d+ bytes"):
        filled(volume, {f"secrets/{n}": bytes(1 << 20) for n in range(65)})
