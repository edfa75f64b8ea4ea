"""Finding the seed among the disks, with a `blkid` on PATH that tells what it is told."""

import subprocess
import sys
from pathlib import Path

import pytest

from skerry.base.errors import SkerryError
from skerry.host.seed import find_seeds, mounted, put_in_force, writable


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def _program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f'#!/bin/sh\necho "$*" >> "{folder}/log"\n{script}\n')
    (folder / name).chmod(0o755)


def _disk(tmp_path: Path, where: str, *, removable: str | None) -> None:
    """Make a disk with one partition, as sysfs shows it."""
    disk = tmp_path / "devices" / where
    name = f"{disk.name}1"
    (disk / name).mkdir(parents=True)
    (disk / name / "partition").write_text("1\n")
    if removable is not None:
        (disk / "removable").write_text(f"{removable}\n")
    (tmp_path / "block").mkdir(exist_ok=True)
    (tmp_path / "block" / name).symlink_to(disk / name)


def test_what_can_be_pulled_out_comes_first(tmp_path: Path, programs: Path) -> None:
    """A stick and a USB disk win over the partition of the image."""
    _program(programs, "blkid", "printf '/dev/sda1\\n/dev/sdb1\\n/dev/sdc1\\n/dev/vda1\\n'")
    _disk(tmp_path, "pci/sda", removable="0")
    _disk(tmp_path, "pci/sdb", removable="1")
    _disk(tmp_path, "pci/usb1/sdc", removable="0")
    _disk(tmp_path, "virtio/vda", removable=None)
    assert find_seeds(tmp_path / "block") == ["/dev/sdb1", "/dev/sdc1", "/dev/sda1", "/dev/vda1"]
    assert (programs / "log").read_text() == "-c /dev/null -t LABEL=SKERRY-SEED -o device\n"


def test_a_whole_disk_may_be_a_seed(tmp_path: Path, programs: Path) -> None:
    """A stick without partitions is looked at itself."""
    _program(programs, "blkid", "echo /dev/sdz")
    (tmp_path / "block/sdz").mkdir(parents=True)
    (tmp_path / "block/sdz/removable").write_text("1\n")
    assert find_seeds(tmp_path / "block") == ["/dev/sdz"]


def test_no_seed_is_no_error(tmp_path: Path, programs: Path) -> None:
    """blkid ends with 2 when it finds nothing."""
    _program(programs, "blkid", "exit 2")
    assert find_seeds(tmp_path) == []


def test_a_program_that_fails_is_named(tmp_path: Path, programs: Path) -> None:
    """With what it said; a program that is not there too."""
    _program(programs, "blkid", "echo broken >&2; exit 4")
    with pytest.raises(SkerryError, match=r"^blkid -c .*: broken$"):
        find_seeds(tmp_path)
    (programs / "blkid").write_text("")
    with pytest.raises(SkerryError, match=r"^blkid failed: "):
        find_seeds(tmp_path)


def test_a_seed_is_mounted_read_only(tmp_path: Path, programs: Path) -> None:
    """Nothing on it can run; it is writable only for as long as it is written."""
    for name in ("mount", "umount"):
        _program(programs, name, "")
    point = tmp_path / "seed"
    with mounted("/dev/sdb1", point) as folder, writable(folder):
        assert folder.is_dir()
    assert not point.exists()
    assert (programs / "log").read_text().splitlines() == [
        f"-t vfat -o ro,nosuid,nodev,noexec,umask=0077 /dev/sdb1 {point}",
        f"-o remount,rw,sync,nosuid,nodev,noexec {point}",
        f"-o remount,ro,nosuid,nodev,noexec {point}",
        f"{point}",
    ]


def test_network_files_come_into_force(tmp_path: Path) -> None:
    """networkd finds them in its folder in /run, readable; other files stay where they are."""
    (tmp_path / "etc/network").mkdir(parents=True)
    (tmp_path / "etc/network/10-lan.network").write_text("[Match]\n")
    (tmp_path / "etc/network/notes.txt").write_text("")
    put_in_force(tmp_path / "etc", tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["10-lan.network"]
    assert (tmp_path / "run/10-lan.network").stat().st_mode & 0o777 == 0o644


@pytest.mark.root
@pytest.mark.parametrize(
    ("name", "kernel"), [("pump-7", "pump-7"), (f"press.{'x' * 63}.example", "press")]
)
def test_the_machine_gets_its_name(tmp_path: Path, name: str, kernel: str) -> None:
    """In a name space of its own; a name too long for the kernel is cut to its first label."""
    (tmp_path / "hostname").write_text(f"{name}\n")
    code = (
        "import socket, sys; from pathlib import Path; from skerry.host.seed import put_in_force;"
        "put_in_force(Path(sys.argv[1])); print(socket.gethostname())"
    )
    command = ["unshare", "--uts", sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{kernel}\n"


def test_a_device_without_seed_keeps_its_name(tmp_path: Path) -> None:
    """Nothing to put in force is no error."""
    put_in_force(tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
