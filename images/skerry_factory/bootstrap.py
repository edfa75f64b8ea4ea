"""The first layer of a tree: Debian packages, installed by mmdebstrap in one transaction.

The layer holds nothing of the machine that built it (host name, resolver, device nodes, logs) and
no time stamp after the epoch. The initramfs is not made here (INITRD=No): it is a step of its own.
Manual pages, translations and documentation other than copyright files stay out; an appliance has
no reader for them, and they are a third of the files.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from skerry_factory.cache import remove_tree
from skerry_factory.command import run_command
from skerry_factory.deb import read_suite
from skerry_factory.definition import Definition
from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.errors import CommandError, FactoryError
from skerry_factory.paths import Checkout

BOOT_PACKAGES = (
    "systemd",
    "systemd-sysv",
    "systemd-boot-efi",
    "systemd-repart",
    "udev",
    "dbus",
    "e2fsprogs",
    "initramfs-tools",
    "zstd",
    "python3",
)
"""What the boot chain, the data partition and Ansible need, whatever the definition says."""

DPKG_OPTIONS = (
    "path-exclude=/usr/share/man/*",
    "path-include=/usr/share/man/man1",  # dpkg does not make an excluded folder for a file in it
    "path-include=/usr/share/man/man1/skerry*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
OF_THE_BUILD_HOST = ("etc/hostname", "etc/resolv.conf", "etc/machine-id", "var/lib/dbus/machine-id")
EMPTIED = ("dev", "run", "tmp", "var/tmp", "var/cache/apt", "var/lib/apt/lists")
LOGS = ("var/log/apt", "var/log/dpkg.log", "var/log/bootstrap.log", "var/log/alternatives.log")
UNREPEATABLE = ("var/cache/ldconfig/aux-cache", "etc/ssh/ssh_host_*", "var/lib/systemd/random-seed")


@dataclass(frozen=True)
class Bootstrap:
    """What goes into the first layer; `mirror` None means mmdebstrap's own choice."""

    suite: str
    arch: str
    mirror: str | None
    packages: tuple[str, ...]


def plan_bootstrap(definition: Definition, checkout: Checkout, mirror: str | None) -> Bootstrap:
    """Merge the packages of the boot chain, the definition, its roles and the runtime."""
    names = [*BOOT_PACKAGES, *definition.packages]
    for role in definition.roles:
        names += role_packages(role, checkout)
    if "runtime" in definition.roles:
        folder = checkout.root / "runtime" / "debian"
        depends = read_suite(definition.suite, folder / "suites.toml").depends
        names += [_first_name(dependency) for dependency in depends]
    packages = tuple(sorted(set(names)))
    return Bootstrap(definition.suite, definition.arch, mirror or definition.mirror, packages)


def role_packages(role: str, checkout: Checkout) -> list[str]:
    """Return the packages that a role declares in vars/packages.yml, if it has that file."""
    if not (checkout.roles / role).is_dir():
        raise FactoryError(f"role {role!r} is not in {checkout.roles}; see [roles] run")
    file = checkout.roles / role / "vars" / "packages.yml"
    if not file.is_file():
        return []
    tables: dict[str, Any] = yaml.safe_load(file.read_text("utf-8")) or {}
    return [str(name) for name in tables.get(f"__{role}_packages", ())]


def bootstrap(plan: Bootstrap, tree: Path) -> None:
    """Make the layer at `tree`, which must not exist yet."""
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"]
    command += [f"--architectures={plan.arch}", f"--include={','.join(plan.packages)}"]
    command += [f"--dpkgopt={option}" for option in DPKG_OPTIONS]
    command += [plan.suite, str(tree), *([plan.mirror] if plan.mirror else [])]
    run_command(command, environment={"INITRD": "No"})
    forget_the_build_host(tree)
    clamp_times([tree])


def default_sources(suite: str, mirror: str | None) -> str:
    """Return the sources.list that mmdebstrap writes for a suite; needs no network."""
    show = 'printf "%s\\n" SOURCES-START; cat "$1/etc/apt/sources.list"; exit 1'
    command = ["mmdebstrap", "--mode=root", "--variant=custom", f"--setup-hook={show}", suite]
    command += ["/dev/null", *([mirror] if mirror else [])]
    try:
        run_command(command)
    except CommandError as error:
        found = re.search(r"^SOURCES-START\n((?:deb .*\n)+)", error.output, re.MULTILINE)
        if found is not None:
            return found[1]
        raise
    raise FactoryError("mmdebstrap did not run the set-up hook that shows its sources")


def clamp_times(paths: Iterable[Path]) -> None:
    """Set every time stamp after the epoch to the epoch."""
    for path in paths:
        run_command(
            [
                *("find", str(path), "-xdev", "-newermt", f"@{SOURCE_DATE_EPOCH}"),
                *("-exec", "touch", "-h", "-d", f"@{SOURCE_DATE_EPOCH}", "{}", "+"),
            ]
        )


def remove_from(root: Path, patterns: Sequence[str]) -> None:
    """Remove files and folders that match, none being fine."""
    for pattern in patterns:
        # glob() does not see a dangling link by its plain name
        plain = root / pattern
        for path in root.glob(pattern) if "*" in pattern else [plain]:
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            else:
                path.unlink(missing_ok=True)


def empty_folders(root: Path, names: Sequence[str]) -> None:
    """Remove what is in some folders, and keep the folders."""
    for name in names:
        remove_from(root, [f"{name}/*"])


def forget_the_build_host(tree: Path) -> None:
    """Remove what a bootstrap copied or made of the machine it ran on."""
    resolver = tree / "etc/resolv.conf"
    kept = resolver.readlink() if resolver.is_symlink() else None
    remove_from(tree, [*OF_THE_BUILD_HOST, *LOGS, *UNREPEATABLE])
    empty_folders(tree, EMPTIED)
    if kept is not None:
        resolver.symlink_to(kept)
    (tree / "etc/machine-id").touch(0o444)


def _first_name(dependency: str) -> str:
    """Return the package that satisfies `a (>= 1) | b`: the first alternative, without version."""
    return re.split(r"[ (|]", dependency.strip(), maxsplit=1)[0]
