"""`skerry-factory fetch ID` and `lock ID`: all that a build needs, by hash, in one folder."""

import argparse
from typing import TYPE_CHECKING

from skerry_factory.command_line import (
    add_cache_option,
    add_verb,
    progress_of_terminal,
    show_result,
)

if TYPE_CHECKING:
    from skerry_factory.command_line import Subparsers


def register(subparsers: "Subparsers") -> None:
    """Add the two verbs."""
    fetch = add_verb(
        subparsers, "fetch", _fetch, help="fetch all that a build needs, and lock it by its hashes"
    )
    lock = add_verb(
        subparsers, "lock", _lock, help="tell what the archive has newer than a lock, or take it"
    )
    lock.add_argument("--update", action="store_true", help="write the new lock")
    for parser in (fetch, lock):
        parser.add_argument("id", metavar="ID", help="the definition: a folder of images/linux")
        parser.add_argument("--mirror", metavar="URL", help="Debian mirror to fetch from")
        add_cache_option(parser)


def _fetch(options: argparse.Namespace) -> int:
    from skerry_factory.definition import find_definition
    from skerry_factory.lock import STORE, lock_file, read_lock, verify, write_lock
    from skerry_factory.paths import Checkout
    from skerry_factory.resolving import fetch, resolve

    checkout, store = Checkout.of_package(), options.cache.resolve() / STORE
    definition = find_definition(options.id, checkout)
    file = lock_file(definition)
    with progress_of_terminal().step("fetch", definition.id) as step:
        step.waits_for("apt to resolve and download")
        if file.exists():
            lock = read_lock(file)
            fetch(definition, lock, checkout, options.mirror, store)
        else:
            lock = resolve(definition, checkout, options.mirror, store)
            write_lock(file, lock)
        verify(lock, store)
        step.done_as(f"{len(lock.packages)} packages")
    data = {"lock": str(file), "store": str(store), "packages": len(lock.packages)}
    show_result(options, data, str(file))
    return 0


def _lock(options: argparse.Namespace) -> int:
    from skerry_factory.definition import find_definition
    from skerry_factory.lock import STORE, difference, lock_file, read_lock, write_lock
    from skerry_factory.paths import Checkout
    from skerry_factory.resolving import resolve

    checkout, store = Checkout.of_package(), options.cache.resolve() / STORE
    definition = find_definition(options.id, checkout)
    file = lock_file(definition)
    old = read_lock(file)
    with progress_of_terminal().step("lock", definition.id) as step:
        step.waits_for("apt to resolve and download")
        new = resolve(definition, checkout, options.mirror, store)
        changes = difference(old.packages, new.packages)
        if options.update:
            write_lock(file, new)
        step.done_as(f"{len(changes)} package(s) differ")
    data = {"lock": str(file), "changes": changes, "written": options.update}
    show_result(options, data, "\n".join(changes))
    return 0
