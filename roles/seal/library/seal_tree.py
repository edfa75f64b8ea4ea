#!/usr/bin/python
"""Removes from an image tree what is unique to a machine, secret, or left over from the build.

Compiled Python modules that packages made stay: they save start time on every boot. Those of
Ansible and of people go with their folders.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: seal_tree
short_description: Remove everything unique or secret from an image tree
description: A second run finds nothing.
options:
  root:
    description: The tree.
    type: path
    default: /
  apt_sources:
    description: Content of /etc/apt/sources.list; without it the sources stay.
    type: str
author: Skerry maintainers
"""

REMOVED = (
    # identity
    "etc/ssh/ssh_host_*",
    "var/lib/dbus/machine-id",
    "etc/hostid",
    "etc/adjtime",
    # secrets
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "root/.bash_history",
    "home/*/.bash_history",
    # left over
    "root/.ansible",
    "home/*/.ansible",
    "root/.cache",
    "root/.python_history",
    "etc/.pwd.lock",
    "etc/*-",
    "etc/apt/sources.list.d/*.save",
    "var/backups/*",
    "var/cache/apt/archives/*.deb",
    "var/cache/debconf/*-old",
    "var/cache/ldconfig/aux-cache",
    "var/cache/skerry",
    "var/crash/*",
    "var/lib/apt/lists/*_*",
    "var/lib/dpkg/*-old",
    "var/lib/systemd/coredump/*",
    "var/log/*.log",
    "var/log/apt/*",
    "var/log/journal/*",
    "var/log/[bw]tmp*",
    "var/log/lastlog",
)
REMADE = (
    "var/cache/apt/*.bin",
    "var/cache/apt/archives/lock",
    "var/lib/apt/lists/lock",
    "var/lib/apt/lists/partial",
)
"""What apt makes anew in every run, this one too: removed, but no change of the tree."""

EMPTY = ("etc/machine-id", "etc/hostname")
"""Filled at every boot: from the data partition, and from the configuration."""

RESOLV_CONF = "etc/resolv.conf"
STUB = "../run/systemd/resolve/stub-resolv.conf"
APT_SOURCES = "etc/apt/sources.list"

Change = Callable[[Path], None]


def main() -> None:
    options = {"root": {"type": "path", "default": "/"}, "apt_sources": {"type": "str"}}
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    root = Path(module.params["root"])
    changes = changes_of(root, module.params["apt_sources"])
    if not module.check_mode:
        for path, change in changes:
            change(path)
        for path in found(root, REMADE):
            remove(path)
    told = "".join(f"{path}\n" for path, _ in changes)
    module.exit_json(changed=bool(changes), diff={"before": told, "after": ""})


def changes_of(root: Path, apt_sources: str | None) -> list[tuple[Path, Change]]:
    """Return what is to do, path by path."""
    changes: list[tuple[Path, Change]] = [(path, remove) for path in found(root, REMOVED)]
    changes += [(root / name, empty) for name in EMPTY if not is_empty(root / name)]
    if not (root / RESOLV_CONF).is_symlink():
        changes.append((root / RESOLV_CONF, link_resolver))
    sources = root / APT_SOURCES
    if apt_sources is not None and (
        not sources.is_file() or sources.read_text("utf-8") != apt_sources
    ):
        changes.append((sources, lambda path: write(path, apt_sources)))
    return changes


def found(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted({path for pattern in patterns for path in root.glob(pattern)})


def is_empty(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size == 0


def write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    path.chmod(0o644)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def empty(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.touch()
    path.chmod(0o444 if path.name == "machine-id" else 0o644)


def link_resolver(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(STUB)


if __name__ == "__main__":
    main()
