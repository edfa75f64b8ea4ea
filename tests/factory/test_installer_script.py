"""What the installer does with a disk, run by the shell of this machine on files in its place."""

import subprocess
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from skerry_factory.bmap import BLOCK_BYTES
from skerry_factory.filesystems import make_sparse
from skerry_factory.formats import Disk, write_formats
from skerry_factory.installer import image_conf
from skerry_factory.paths import package_data

SCRIPT = package_data("installer") / "etc/initramfs-tools/scripts/skerry-installer"
DISK_BYTES = 6 << 20
STAND_INS = """
say() { echo "$*"; }
fail() { echo "not installed: $*"; exit 1; }
blockdev() { case "$1" in --getsize64) echo "$disk_has" ;; esac; }
disks() { printf '%s\\n' $found; }
show_disks() { disks; }
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A folder such as is on the medium: an image with data behind its head, packed, with a map."""
    folder = tmp_path / "image"
    folder.mkdir()
    file = folder / "box.raw"
    make_sparse(file, DISK_BYTES)
    with file.open("r+b") as stream:
        for block in (0, 1, 300, 301, DISK_BYTES // BLOCK_BYTES - 1):
            stream.seek(block * BLOCK_BYTES)
            stream.write(bytes([block % 251 + 1]) * BLOCK_BYTES)
    packed, block_map = [
        output.path for output in write_formats(Disk(file, "box", []), ("raw.zst",))
    ][1:]
    (folder / "image.conf").write_bytes(image_conf(file, packed, block_map))
    return folder


def run(image: Path, commands: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run commands with the functions of the installer, on the file `target` as the disk."""
    functions, _, _ = SCRIPT.read_text("utf-8").partition("\nmedia=\n")
    work = image.parent / "work"
    functions = functions.replace("/run/skerry-install", str(work))
    target = f"..{image.parent / 'target'}"
    given = {
        "folder": str(image),
        "conf": str(image / "image.conf"),
        "disk": target,
        "disk_has": "",
    }
    lines = [f"{name}='{value}'" for name, value in {**given, **variables}.items()]
    script = "\n".join([functions, STAND_INS, *lines, "media=", commands])
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, timeout=30
    )


def test_a_used_disk_becomes_the_image(image: Path) -> None:
    """Every byte, also where its head is written last; nothing behind it is touched."""
    target = image.parent / "target"
    target.write_bytes(b"\xa5" * (DISK_BYTES + BLOCK_BYTES))
    done = run(image, "check_digest && write_disk")
    assert done.returncode == 0, done.stdout + done.stderr
    assert target.read_bytes() == (image / "box.raw").read_bytes() + b"\xa5" * BLOCK_BYTES


def test_a_damaged_image_is_not_written(image: Path) -> None:
    """Its digest is another than that of image.conf: the disk stays as it was."""
    target = image.parent / "target"
    target.write_bytes(b"old")
    with (image / "box.raw.zst").open("ab") as stream:
        stream.write(b"x")
    done = run(image, "check_digest && write_disk")
    assert (done.returncode, target.read_bytes()) == (1, b"old")
    assert "not installed: box.raw.zst is damaged" in done.stdout


def test_a_disk_written_in_part_does_not_boot(image: Path) -> None:
    """A packed image that ends early leaves no partition table."""
    target = image.parent / "target"
    target.write_bytes(b"\xa5" * DISK_BYTES)
    packed = image / "box.raw.zst"
    packed.write_bytes(packed.read_bytes()[:-20])
    done = run(image, "write_disk")
    assert done.returncode == 1
    assert "was written in part and does not boot" in done.stdout
    assert target.read_bytes()[: 1 << 20] == bytes(1 << 20)


@pytest.mark.parametrize(
    ("wanted", "found", "told"),
    [
        ("auto", "vda vdb", "several disks; name one: disk=NAME"),
        ("auto", "", "no disk was found"),
        ("sdz", "vda vdb", "disk sdz is none of those that may be written"),
    ],
)
def test_a_disk_that_is_not_clear_is_refused(
    image: Path, wanted: str, found: str, told: str
) -> None:
    """Nobody guesses which disk is meant."""
    done = run(image, f"choose {wanted}; echo chosen", found=found)
    assert (done.returncode, "chosen" in done.stdout) == (1, False)
    assert f"not installed: {told}" in done.stdout


@pytest.mark.parametrize(("wanted", "found"), [("auto", "vdb"), ("/dev/vdb", "vda vdb")])
def test_a_clear_choice_is_taken(image: Path, wanted: str, found: str) -> None:
    """The only disk, or the one that is named."""
    assert run(image, f"choose {wanted}; echo $disk", found=found).stdout == "vdb\n"


def test_a_disk_that_is_too_small_is_refused(image: Path) -> None:
    """Both sizes are told."""
    done = run(image, "size_bytes=4096 check_size", disk="vda", disk_has="4095")
    assert "not installed: disk vda has 4095 bytes, the image needs 4096" in done.stdout


@pytest.fixture
def server(image: Path) -> Iterator[str]:
    """An HTTP server on loopback that offers the folder of the image."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(image))  # type: ignore[arg-type]

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_files_come_over_http(image: Path, server: str) -> None:
    """Byte for byte; what is not there is told with the server's answer."""
    copy = image.parent / "copy"
    assert run(image, f"get {server}/box.raw.zst {copy}").returncode == 0
    assert copy.read_bytes() == (image / "box.raw.zst").read_bytes()
    assert "404" in run(image, f"get {server}/other {copy}").stdout
