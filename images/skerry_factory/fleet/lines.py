"""Files of JSON lines that only grow: a crash leaves whole lines, and at most one cut short.

A cut line is not read, and is cut off before more is added.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from skerry.base.files import fsync_folder
from skerry_factory.errors import FactoryError


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a file; none when it is not there. Raises: FactoryError."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return []
    found = []
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise _damaged(file, number) from error
        if not isinstance(value, dict):
            raise _damaged(file, number)
        found.append(value)
    return found


def append_lines(file: Path, lines: Iterable[Mapping[str, object]], *, mode: int) -> None:
    """Add lines to a file, made with a mode when it is not there; they last when this returns."""
    data = b"".join(json.dumps(line, sort_keys=True).encode() + b"\n" for line in lines)
    if not data:
        return
    is_new = not file.exists()
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        end = _end_of_lines(descriptor)
        os.ftruncate(descriptor, end)
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, end)
            view, end = view[written:], end + written
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        fsync_folder(file.parent)


def _end_of_lines(descriptor: int) -> int:
    """Return the offset behind the last line end."""
    at = os.fstat(descriptor).st_size
    while at:
        start = max(0, at - 65536)
        found = os.pread(descriptor, at - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        at = start
    return 0


def not_ours(file: Path) -> FactoryError:
    """Return the error for a file whose lines are not what they have to be."""
    return FactoryError(
        f"{file}: has lines of another shape; take it from a backup, or remove it to stamp anew"
    )


def _damaged(file: Path, line: int) -> FactoryError:
    return FactoryError(
        f"{file}:{line}: no JSON; take the file from a backup, or remove it to stamp anew"
    )
