"""Real builds of a small image: whole or not at all, the same bytes for all, nothing left.

One checkout is made for the module: a definition with few packages and two roles of its own. What
the first build caches, the others use.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.accounts import account, becoming
from skerry_factory.build import BuildResult, build_image
from skerry_factory.definition import load_definition
from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.errors import FactoryError
from skerry_factory.paths import Checkout
from skerry_factory.progress import Progress

pytestmark = pytest.mark.root

DEFINITION = """\
[image]
id = "small"
suite = "trixie"
arch = "amd64"
formats = ["raw", "qcow2", "vhdx", "tar"]
[disk]
size = "1GiB"
root = "700MiB"
[system]
packages = ["linux-image-cloud-amd64"]
[roles]
run = ["first", "last"]
vars = { last_extra = "" }
"""
PLAYBOOK = """\
- name: Build
  hosts: image
  gather_facts: false
  tasks:
    - name: Run the roles
      ansible.builtin.include_role:
        name: "{{ item }}"
      loop: "{{ image_roles }}"
"""
FIRST = """\
- name: Make an account
  ansible.builtin.user:
    name: tech
- name: Enable a unit
  ansible.builtin.systemd_service:
    name: systemd-networkd.service
    enabled: true
"""
LAST = """\
- name: Write a file
  ansible.builtin.copy:
    dest: /etc/last
    content: "done\\n"
    mode: "0644"
- name: Do what the test asks for
  ansible.builtin.shell: "{{ last_extra }}"
  when: last_extra != ''
"""
RUN = """\
import sys
from pathlib import Path
from skerry_factory.build import build_image
from skerry_factory.definition import load_definition
from skerry_factory.paths import Checkout
from skerry_factory.progress import Progress
root, out, cache = map(Path, sys.argv[1:])
definition = load_definition(root / "images/linux/small/image.toml")
build_image(definition, out, cache, Progress(sys.stderr), checkout=Checkout(root))
"""
CONNECT = 'python3 -c "import socket; socket.create_connection((str(3221225985), 80), 5)"'
END_SECONDS = 30.0
BUILD_SECONDS = 600.0


@pytest.fixture(scope="module")
def house() -> Iterator[Path]:
    """A folder that everyone may enter, with a checkout and a cache."""
    folder = Path(tempfile.mkdtemp(prefix="skerry-build-test-"))
    folder.chmod(0o755)
    files = {
        "images/linux/small/image.toml": DEFINITION,
        "playbooks/build_linux.yml": PLAYBOOK,
        "roles/first/tasks/main.yml": FIRST,
        "roles/last/tasks/main.yml": LAST,
    }
    for name, text in files.items():
        (folder / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "checkout" / name).write_text(text)
    real = Checkout.of_package().root
    overlay = folder / "checkout/images/linux/small/overlay"
    shutil.copytree(real / "images/linux/debian-13-amd64/overlay", overlay, symlinks=True)
    (folder / "checkout/runtime").symlink_to(real / "runtime")
    (folder / "checkout/images/containers").symlink_to(real / "images/containers")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def build(house: Path, tmp_path: Path) -> Callable[..., BuildResult]:
    """Return a function that builds into a folder of this test, with one more shell command."""

    def run(extra: str = "", name: str = "out") -> BuildResult:
        checkout = Checkout(house / "checkout")
        file = definition_with(house, extra, tmp_path)
        return build_image(
            load_definition(file),
            tmp_path / name,
            house / "cache",
            Progress.silent(),
            checkout=checkout,
        )

    return run


def definition_with(house: Path, extra: str, folder: Path) -> Path:
    """Write a definition whose last role runs one more command."""
    original = house / "checkout/images/linux/small"
    own = folder / "definition" / "small"
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(original, own, symlinks=True)
    (own / "image.toml").write_text(
        DEFINITION.replace('last_extra = ""', f"last_extra = '{extra}'")
    )
    return own / "image.toml"


def mounts(folder: Path) -> list[str]:
    """Return the mounts of this machine that have to do with a folder."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(folder) in line]


def processes_about(folder: Path) -> list[str]:
    """Return the command lines of processes that name a folder or have their root in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            root = str((process / "root").readlink())
        except OSError:
            continue
        if process.name != str(os.getpid()) and (str(folder) in line or str(folder) in root):
            found.append(line)
    return found


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_a_build_is_whole_and_leaves_nothing(
    build: Callable[..., BuildResult], house: Path
) -> None:
    """Disk and file systems are sound; no mount, process or half file stays; again is a no-op."""
    result = build()
    assert subprocess.run(["sfdisk", "--verify", result.raw], capture_output=True).returncode == 0
    for part in result.read_manifest()["partitions"]:
        if part["name"] in ("root-a", "data"):
            device = f"{result.raw}?offset={part['offset_bytes']}"
            checked = subprocess.run(["e2fsck", "-fn", device], capture_output=True, text=True)
            assert checked.returncode == 0, checked.stdout
    assert (mounts(house), processes_about(house)) == ([], [])
    assert sorted(path.name for path in result.raw.parent.iterdir()) == [
        ".lock",
        "manifest.json",
        "small.qcow2",
        "small.raw",
        "small.tar",
        "small.vhdx",
    ]
    assert not (house / "cache/making").exists()
    assert not build().changed


def test_a_continued_build_equals_a_cold_one(
    build: Callable[..., BuildResult], house: Path
) -> None:
    """A build that continues behind a cached role gives the image that one from nothing gives."""
    build()
    build("true", name="other")
    shutil.rmtree(house / "cache/entries/kernel")
    continued = build("echo", name="continued")
    shutil.rmtree(house / "cache/entries/roles")
    cold = build("echo", name="cold")
    assert continued.read_manifest()["outputs"] == cold.read_manifest()["outputs"]


def test_the_archive_holds_the_tree(build: Callable[..., BuildResult]) -> None:
    """What lies on the data partition is in its place, and what only a disk needs is not there."""
    with tarfile.open(build().raw.with_suffix(".tar")) as archive:
        members = {member.name: member for member in archive}
    assert {"./etc/os-release", "./home/tech", "./var/lib/skerry", "./etc/skerry"} <= set(members)
    assert "./etc/fstab" not in members
    assert members["./home/tech"].uid == 1000
    assert max(member.mtime for member in members.values()) <= SOURCE_DATE_EPOCH


def test_everyone_builds_the_same_bytes(
    build: Callable[..., BuildResult], house: Path, tmp_path: Path
) -> None:
    """An account without rights builds what root builds, from nothing."""
    own = house / "unprivileged"
    own.mkdir()
    try:
        with account("900000-965535") as name:
            shutil.chown(own, name, name)
            command = [*becoming(name), "env", "-i", f"HOME={own}", "PATH=/usr/bin:/bin"]
            command += [sys.executable, "-c", RUN]
            command += [str(house / "checkout"), str(own / "out"), str(own / "cache")]
            done = subprocess.run(
                command, capture_output=True, text=True, cwd="/", timeout=BUILD_SECONDS
            )
            assert done.returncode == 0, done.stderr
            theirs = json.loads((own / "out/manifest.json").read_text())
            assert theirs["outputs"] == build().read_manifest()["outputs"]
            assert (own / "out/small.raw").owner() == name
    finally:
        shutil.rmtree(own)


@pytest.mark.parametrize("moment", ["roles", "finish"])
def test_a_killed_build_leaves_nothing_running(
    house: Path, tmp_path: Path, moment: str, build: Callable[..., BuildResult]
) -> None:
    """After kill -9 nothing runs or is mounted, no image has its name; the next build works."""
    build(name="warm")
    marker = tmp_path / "marker"
    extra = f"sleep 120 # {marker}" if moment == "roles" else f"true {marker}"
    definition = definition_with(house, extra, tmp_path)
    script = RUN.replace('root / "images/linux/small/image.toml"', f'Path("{definition}")')
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-c",
        script,
        str(house / "checkout"),
        str(out),
        str(house / "cache"),
    ]
    victim = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        if moment == "roles":
            wait_until(lambda: any("sleep 120" in p for p in running()), BUILD_SECONDS, "no task")
        else:
            building = ".building-*/small.raw"
            wait_until(lambda: bool(list(out.glob(building))), BUILD_SECONDS, "no disk")
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    wait_until(lambda: not processes_about(house), END_SECONDS, "processes were left")
    assert mounts(house) == []
    assert not (out / "small.raw").exists()
    assert not (out / "manifest.json").exists()
    assert build("true").changed
    assert not list(out.glob(".building-*"))
    assert not (house / "cache/making").exists()


def running() -> list[str]:
    """Return the command lines of all processes."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return lines


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ("echo key > /etc/ssh_host_x_key; exit 3", "task 'last : Do what the test asks for'"),
        (
            "head -c 32 /dev/urandom > /var/lib/systemd/random-seed; touch /root/x",
            "root/x: file of",
        ),
        ("echo tech:x::: > /etc/machine-id; echo a > /etc/hostname", "etc/hostname: host name of"),
        ("setsid sleep 300 >/dev/null 2>&1 &", "process(es) still run in the image tree"),
        ("echo 1 > /proc/sys/vm/drop_caches", "Read-only file system"),
        (CONNECT, "Network is unreachable"),
    ],
    ids=[
        "a task fails",
        "a file of root",
        "the name of a host",
        "a process stays",
        "the kernel of the host is touched",
        "the network is used",
    ],
)
def test_a_failed_build_leaves_no_image(
    build: Callable[..., BuildResult], house: Path, tmp_path: Path, extra: str, told: str
) -> None:
    """What a role must not do fails the build with its reason, and nothing of it stays."""
    with pytest.raises(FactoryError) as failed:
        build(extra)
    assert told in str(failed.value)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]
    assert (mounts(house), processes_about(house)) == ([], [])
