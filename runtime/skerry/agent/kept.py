"""Files that the agent keeps over restarts: JSON, read whole, set aside when they cannot be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from skerry.base.files import FileTooLargeError, read_limited
from skerry.base.log import Logger

T = TypeVar("T")

_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, FileTooLargeError)


def read_or_set_aside(
    path: Path, max_bytes: int, parse: Callable[[Any], T], empty: T, log: Logger
) -> T:
    """Return what a file holds, `empty` when there is none.

    A file that `parse` cannot use is renamed to `NAME.broken`, logged, and counts as empty.
    """
    try:
        return parse(json.loads(read_limited(path, max_bytes)))
    except FileNotFoundError:
        return empty
    except _BROKEN as error:
        log.warning(f"{path.stem} set aside", path=path, reason=error)  # noqa: G004 - two files
        path.replace(path.with_name(f"{path.name}.broken"))
        return empty
