"""Order of versions: Debian's (deb-version(7)) and Python's."""

import re
from itertools import zip_longest

from packaging.version import InvalidVersion, Version

PARTS = re.compile(r"(\D*)(\d*)")


def is_before(kind: str, first: str, second: str) -> bool:
    """Tell whether a version is older than another one; `kind` is deb or pypi."""
    if kind == "pypi":
        try:
            return Version(first) < Version(second)
        except InvalidVersion:
            return False
    return DebianVersion(first) < DebianVersion(second)


class DebianVersion:
    """One version of Debian, to be compared."""

    def __init__(self, text: str) -> None:
        epoch, colon, rest = text.partition(":")
        rest = rest if colon else text
        upstream, dash, revision = rest.rpartition("-")
        self._epoch = int(epoch) if colon and epoch.isdigit() else 0
        self._parts = (upstream if dash else rest, revision if dash else "0")

    def __lt__(self, other: "DebianVersion") -> bool:
        if self._epoch != other._epoch:
            return self._epoch < other._epoch
        for own, its in zip(self._parts, other._parts, strict=True):
            order = _compare(own, its)
            if order:
                return order < 0
        return False


def _compare(first: str, second: str) -> int:
    """Compare upstream versions or revisions: text and numbers in turn."""
    pairs = zip_longest(PARTS.findall(first), PARTS.findall(second), fillvalue=("", ""))
    for (text, digits), (its_text, its_digits) in pairs:
        for own, its in zip_longest(text, its_text, fillvalue=""):
            if _rank(own) != _rank(its):
                return _rank(own) - _rank(its)
        difference = int(digits or 0) - int(its_digits or 0)
        if difference:
            return difference
    return 0


def _rank(character: str) -> int:
    """'~' is before the end, letters are before everything else."""
    if character in ("~", ""):
        return -1 if character else 0
    return ord(character) if character.isalpha() else ord(character) + 256
