"""Root trees for tests: one Debian 13 with the packages of all roles, and overlays on top of it.

The base tree is made once by mmdebstrap and kept in the cache under the digest of what it is made
of; nobody writes into it. Work happens in an `Overlay`, whose upper folder is the only thing that
changes. Overlays are mounted inside a mount namespace of the process that uses them, so they end
with it.

    $SKERRY_CACHE/test-tree/<digest>/    the base tree, whole or absent
"""

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from skerry_factory.command_line import default_cache

ROOT = Path(__file__).resolve().parents[2]
SUITE = "trixie"
ROLES = ("base", "engine", "gateway", "tpm", "runtime")
BOOTSTRAP = ("mmdebstrap", "--variant=minbase", "--format=directory", "--quiet")
WRAPPER = ROOT / "images" / "skerry_factory" / "data" / "chroot-wrapper"
BUILD_FILES = "var/cache/skerry-build"


def role_packages() -> list[str]:
    """Return the packages of all roles, as the factory puts them into its bootstrap."""
    found: set[str] = set()
    for role in ROLES:
        text = (ROOT / "roles" / role / "vars" / "packages.yml").read_text("utf-8")
        found.update(yaml.safe_load(text)[f"__{role}_packages"])
    return sorted(found)


def base_tree() -> Path:
    """Return the base tree; makes it when the cache has none."""
    command = [*BOOTSTRAP, f"--include={','.join(role_packages())}", SUITE]
    folder = default_cache() / "test-tree"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / hashlib.sha256("\0".join(command).encode()).hexdigest()[:32]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            new = folder / "new"
            shutil.rmtree(new, ignore_errors=True)
            subprocess.run([*command, str(new)], check=True, timeout=800)
            new.rename(target)
    return target


@dataclass(frozen=True)
class Overlay:
    """A writable view of a tree; state lies in `work`, and only what was written."""

    base: Path
    work: Path
    layers: tuple[Path, ...] = ()
    """Of an image, above the base, lowest first."""

    @property
    def root(self) -> Path:
        """Where it is mounted, in the namespaces that mount it."""
        return self.work / "root"

    @property
    def upper(self) -> Path:
        return self.work / "upper"

    def make_folders(self) -> None:
        for name in ("root", "upper", "scratch"):
            (self.work / name).mkdir(parents=True, exist_ok=True)

    def mount_command(self) -> str:
        """Return the shell command that mounts it."""
        lower = ":".join(map(str, (*reversed(self.layers), self.base)))
        options = f"lowerdir={lower},upperdir={self.upper},workdir={self.work / 'scratch'}"
        # the factory's layers say so what they removed
        options += ",userxattr" if self.layers else ""
        return shlex.join(["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)])


def enter(overlay: Overlay, command: Sequence[str], build_files: Path | None = None) -> list[str]:
    """Return `command` wrapped so that it finds the overlay mounted as an image's tree is."""
    root = shlex.quote(str(overlay.root))
    steps = ["set -e", overlay.mount_command(), f"mount -t proc -o ro proc {root}/proc"]
    steps += [f"mount -t tmpfs tmpfs {root}/{name}" for name in ("run", "tmp", "dev")]
    steps.append(f"chmod 1777 {root}/tmp")
    for node in ("null", "zero", "full", "random", "urandom", "tty"):
        steps += [f"touch {root}/dev/{node}", f"mount --bind /dev/{node} {root}/dev/{node}"]
    if build_files is not None:
        inside = f"{root}/{BUILD_FILES}"
        source = shlex.quote(str(build_files))
        steps += [f"mkdir -p {inside}", f"mount --bind {source} {inside}"]
    script = "\n".join([*steps, 'exec "$@"'])
    namespaces = ["--mount", "--propagation=private", "--pid", "--fork", "--mount-proc"]
    return ["unshare", *namespaces, "--kill-child", "sh", "-c", script, "sh", *command]


@contextmanager
def mounted(overlay: Overlay) -> Iterator[Path]:
    """Mount the overlay in this process's namespace for a moment, to prepare files in it."""
    subprocess.run(["sh", "-c", overlay.mount_command()], check=True, timeout=30)
    try:
        yield overlay.root
    finally:
        subprocess.run(["umount", str(overlay.root)], check=True, timeout=30)


def chroot_environment(epoch: int) -> dict[str, str]:
    """Return the variables that a play over the chroot connection needs."""
    return {
        **os.environ,
        "ANSIBLE_CHROOT_EXE": str(WRAPPER),
        "SOURCE_DATE_EPOCH": str(epoch),
    }
