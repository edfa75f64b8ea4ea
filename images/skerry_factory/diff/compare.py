"""Compares two images: a list of changes, those that matter to security first.

A file is compared by kind, mode, owner, link target, extended attributes and content; times are
not. Files of a package whose version differs are told as `owned`, so that they can be left out.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from skerry_factory.contents.model import Contents, Entry, Kind
from skerry_factory.contents.owners import owners_of, source_of_bytecode
from skerry_factory.diff import facts
from skerry_factory.diff.facts import Facts

AREAS = {
    "users": facts.users,
    "groups": facts.groups,
    "sockets": facts.sockets,
    "units": facts.units,
    "kernel": facts.kernel,
    "boot": facts.boot,
    "partitions": facts.partitions,
    "packages": facts.packages,
}
ALWAYS_SECURITY = ("kernel", "boot")

What = Literal["added", "removed", "changed"]


@dataclass(frozen=True)
class Change:
    """One difference; `before` or `after` is empty for what is only in one image.

    `why` tells why it matters to security, empty when it does not; `package` is the package with
    another version that a file belongs to.
    """

    area: str
    name: str
    what: What
    before: str
    after: str
    why: str = ""
    package: str = ""


def compare(before: Contents, after: Contents) -> list[Change]:
    """Return every change, security first, then by area and name."""
    found = [
        change for area, read in AREAS.items() for change in _facts(area, read(before), read(after))
    ]
    updated = {change.name.partition(":")[0] for change in found if change.area == "packages"}
    found += _files(before, after, updated)
    order = [*AREAS, "files"]
    return sorted(found, key=lambda one: (not one.why, order.index(one.area), one.name))


def _facts(area: str, before: Facts, after: Facts) -> Iterator[Change]:
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old != new:
            what: What = "added" if old is None else "removed" if new is None else "changed"
            old, new = old or "", new or ""
            yield Change(area, name, what, old, new, _why(area, name, what, new))


def _why(area: str, name: str, what: What, after: str) -> str:
    if area in ALWAYS_SECURITY:
        return "boot chain"
    if area == "sockets" and what != "removed":
        return "listens"
    if area == "users" and what != "removed" and facts.has_shell(f"{after},"):
        return "user with a shell"
    if area == "users" and "password set" in after:
        return "user with a password"
    if area == "groups" and what != "removed" and name in ("root", "sudo", "docker", "disk"):
        return "group with rights"
    return ""


def _files(before: Contents, after: Contents, updated: set[str]) -> Iterator[Change]:
    owners = owners_of(before) | owners_of(after)
    paths = sorted(before.entries.keys() | after.entries.keys())
    with ThreadPoolExecutor() as pool:
        aspects = pool.map(lambda path: _aspects(before, after, path), paths)
        for path, changed in zip(paths, aspects, strict=True):
            if changed is not None:
                old, new = before.entries.get(path), after.entries.get(path)
                what: What = "added" if old is None else "removed" if new is None else "changed"
                why = ", ".join(facts.dangers(path, new)) if new else ""
                if old and not new and facts.dangers(path, old):
                    why = "removed " + ", ".join(facts.dangers(path, old))
                owner = owners.get(path) or owners.get(source_of_bytecode(path), "")
                package = owner if owner in updated else ""
                yield Change("files", path, what, *changed, why, package)


def _aspects(before: Contents, after: Contents, path: str) -> tuple[str, str] | None:
    """Return what differs of a path, before and after; None when nothing does."""
    old, new = before.entries.get(path), after.entries.get(path)
    if old is None or new is None:
        return (_told(old) if old else "", _told(new) if new else "")
    was, now = _told(old), _told(new)
    if was != now:
        return was, now
    if old.xattrs != new.xattrs:
        names = sorted(
            name
            for name in {*old.xattrs, *new.xattrs}
            if old.xattrs.get(name) != new.xattrs.get(name)
        )
        return "xattrs", f"other xattrs {', '.join(names)}"
    if old.kind is Kind.FILE and old.read() != new.read():
        return was, "other content"
    return None


def _told(entry: Entry) -> str:
    told = f"{entry.kind} {entry.mode:04o} {entry.uid}:{entry.gid}"
    if entry.kind is Kind.LINK:
        return f"{told} -> {entry.target}"
    return f"{told} {entry.size_bytes} bytes" if entry.kind is Kind.FILE else told
