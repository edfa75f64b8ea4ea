"""The command `iotedge`, for scripts and habits: its spelling turned into that of `skerry`.

On when /usr/local/bin/iotedge leads to `skerry` (`skerry system alias on`). What the verbs do and
print is Skerry's own; only names and options of Azure IoT Edge 1.5 are accepted (§7.4 of its
description). Pure.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from skerry import __version__
from skerry.base.errors import SkerryError

NAME = "iotedge"
_MANAGEMENT = "unix:///var/run/iotedge/mgmt.sock"
_RENAMED: Mapping[tuple[str, ...], Mapping[str, str]] = {
    ("config", "apply"): {"-c": "--config", "--config-file": "--config"},
    ("config", "mp"): {"--config-file": "--out"},
    ("config", "import"): {"--config-file": "--config"},
}
_WITHOUT_MEANING = {("check",): {"--aziot-edged"}}
"""Options with a value that say where upstream's programs are."""


def is_alias(program: str) -> bool:
    """Tell whether the program was called by the other name."""
    return PurePath(program).name == NAME


def translated(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the command line of `skerry`, and the management API it shall ask, if one is named.

    Raises: SkerryError for an address that cannot be asked.
    """
    words, host = _without_host(list(arguments))
    if words[:1] == ["version"]:
        return ["--version"], host
    for verb, renamed in _RENAMED.items():
        if tuple(words[: len(verb)]) == verb:
            words = [*verb, *(_renamed(word, renamed) for word in words[len(verb) :])]
    for verb, dropped in _WITHOUT_MEANING.items():
        if tuple(words[: len(verb)]) == verb:
            words = _without(words, dropped)[0]
    return words, host


def version() -> str:
    """Return what `iotedge version` prints."""
    return f"{NAME} {__version__}"


def _without_host(words: list[str]) -> tuple[list[str], str | None]:
    rest, values = _without(words, {"-H", "--host"})
    if not values or values[-1] == _MANAGEMENT:
        return rest, None
    if not values[-1].startswith("unix:///"):
        raise SkerryError(f"--host is {values[-1]!r}, expected unix:///path/of/the/socket")
    return rest, values[-1]


def _without(words: list[str], names: set[str]) -> tuple[list[str], list[str]]:
    """Take options with their values out; returns the rest and the values."""
    rest: list[str] = []
    values: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            rest += [word, *left]
        elif word in names:
            values.append(next(left, ""))
        elif word.partition("=")[0] in names:
            values.append(word.partition("=")[2])
        else:
            rest.append(word)
    return rest, values


def _renamed(word: str, renamed: Mapping[str, str]) -> str:
    name, equals, value = word.partition("=")
    return f"{renamed.get(name, name)}{equals}{value}"
