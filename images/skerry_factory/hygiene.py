"""Finds what must never be in an image: what is unique to one device, and what is secret.

A finding names the path and the reason (`hygiene_rules`). Names are looked at everywhere, and every
file for private keys; configuration, state, homes and applications also for other secrets. Of a
file at most 2 MiB are read. Container images in the tree are opened: each layer is judged as a tree
is, and the configuration of the image as a file.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase, translate
from math import log2
from pathlib import Path

from skerry_factory.hygiene_layers import Part, is_archive, parts_of_archive
from skerry_factory.hygiene_rules import (
    FILE_RULES,
    KEY_FILE,
    KEY_TEXT,
    KEY_TEXT_HINTS,
    MAX_PLAIN_ENTROPY_BITS,
    SECRET_ASSIGNMENT,
    SECRET_NAMES,
    TEXT_RULES,
    TREE_NAMES,
    NameRule,
)

READ_BYTES = 2 << 20
PROGRAMS = ("usr/", "lib/", "lib64/", "bin/", "sbin/", "boot/", "var/lib/dpkg/", "var/cache/man/")
NOT_PROGRAMS = ("usr/local/", "usr/src/", "lib/skerry/")


@dataclass(frozen=True)
class Item:
    """Something in a tree or layer; `read` gives the start of a file's content."""

    name: str
    mode: int
    size: int
    link: Callable[[], str]
    read: Callable[[], bytes]


class _Judge:
    """The rules for one kind of tree, made ready for many names."""

    def __init__(self, names: Sequence[NameRule]) -> None:
        self._names = names
        self._any_name = re.compile("|".join(translate(rule.pattern) for rule in names))

    def reason(self, item: Item) -> str | None:
        """Say why something must not be there."""
        return self._name_reason(item) or self._content_reason(item)

    def _name_reason(self, item: Item) -> str | None:
        if self._any_name.match(item.name):
            for rule in self._names:
                if fnmatchcase(item.name, rule.pattern) and not _tolerated(rule, item):
                    return rule.reason
        return None

    def _content_reason(self, item: Item) -> str | None:
        if not stat.S_ISREG(item.mode) or not item.size:
            return None
        data = item.read()
        if _is_key(data):
            return KEY_TEXT.reason
        for rule in FILE_RULES:
            if fnmatchcase(item.name, rule.files) and rule.expression.search(data):
                return rule.reason
        if not is_configuration(item.name) or b"\0" in data[:1024]:
            return None
        return secret_in(data)


def secret_in(data: bytes) -> str | None:
    """Say what kind of secret is in a text."""
    for rule in TEXT_RULES:
        if rule.expression.search(data):
            return rule.reason
    for match in SECRET_ASSIGNMENT.finditer(data):
        if entropy_bits(match[1]) > MAX_PLAIN_ENTROPY_BITS:
            return "value that looks like a secret"
    return None


def find_leaks(root: Path) -> list[str]:
    """Return `path: reason` for everything in a tree that an image must not have."""
    judge, found = _Judge((*SECRET_NAMES, *TREE_NAMES)), []
    seen: set[bytes] = set()
    for path, item in _walk(root):
        if stat.S_ISREG(item.mode) and is_archive(path):
            found += [f"{item.name}: {leak}" for leak in _leaks_in_archive(path, seen)]
            continue
        reason = _tree_reason(item) or judge.reason(item)
        if reason is not None:
            found.append(f"{item.name}: {reason}")
    return found


def is_configuration(name: str) -> bool:
    """Tell whether a path may hold what somebody configured, and not only what packages brought."""
    return name.startswith(NOT_PROGRAMS) or not name.startswith(PROGRAMS)


def entropy_bits(text: bytes) -> float:
    """Return Shannon's entropy per byte of a text, in bits."""
    counts = [text.count(byte) for byte in set(text)]
    return -sum(count / len(text) * log2(count / len(text)) for count in counts)


def _leaks_in_archive(archive: Path, seen: set[bytes]) -> list[str]:
    """Return `path in the image: reason` for everything that a container image must not have."""
    judge, found = _Judge(SECRET_NAMES), []
    for part in parts_of_archive(archive, seen):
        spoken = part.is_configuration
        reason = secret_in(_spoken(part)) if spoken else judge.reason(_item_of(part))
        if reason is not None:
            found.append(f"{part.name}: {reason}")
    return found


def _walk(root: Path) -> Iterator[tuple[Path, Item]]:
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = Path(folder) / name
            status = path.lstat()
            yield (
                path,
                Item(
                    path.relative_to(root).as_posix(),
                    status.st_mode,
                    status.st_size,
                    lambda path=path: path.readlink().as_posix(),  # type: ignore[misc]
                    lambda path=path: _start_of(path),  # type: ignore[misc]
                ),
            )


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(READ_BYTES)


def _item_of(part: Part) -> Item:
    return Item(part.name, part.mode, part.size, lambda: part.link, lambda: part.data)


def _spoken(part: Part) -> bytes:
    """Return the text of an image's configuration with its values one a line, as files have it."""
    return part.data.replace(b'","', b'"\n"').replace(b'["', b'[\n"').replace(b'\\"', b'"')


def _is_key(data: bytes) -> bool:
    if KEY_FILE.match(data):
        return True
    hinted = any(hint in data for hint in KEY_TEXT_HINTS) and not data.startswith(b"\x7fELF")
    return hinted and KEY_TEXT.expression.search(data) is not None


def _tree_reason(item: Item) -> str | None:
    name = item.name
    if name.endswith(".pyc") and not name.startswith(("usr/lib/", "usr/share/")):
        return "compiled Python outside of a package"
    if name == "etc/resolv.conf" and not stat.S_ISLNK(item.mode) and item.size:
        return "resolver of the build machine"
    if stat.S_ISSOCK(item.mode) or stat.S_ISFIFO(item.mode):
        return "socket or pipe of a process"
    return None


def _tolerated(rule: NameRule, item: Item) -> bool:
    if stat.S_ISLNK(item.mode):
        return item.link() == "/etc/machine-id"
    if stat.S_ISDIR(item.mode):
        return True
    return rule.may_be_empty and item.size == 0
