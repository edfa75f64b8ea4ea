"""Man pages, written from a command's tree in the language of man(7). Pure.

The program has a page, and so has each verb: `man skerry`, `man skerry-config`. What a verb has
below it is on its page.
"""

import gzip
import io
from datetime import UTC, datetime

from skerry import __version__
from skerry.base.commands import Command, Option
from skerry_factory.epoch import SOURCE_DATE_EPOCH

_DATE = datetime.fromtimestamp(SOURCE_DATE_EPOCH, UTC).date().isoformat()
_STATUS = (
    ("0", "done"),
    ("1", "failed, or problems were found"),
    ("2", "the command line was wrong"),
)


def pages(command: Command) -> dict[str, bytes]:
    """Return the pages by file name, compressed, the same bytes every time."""
    found = {"-".join(one.path[:2]): one for one in (command, *command.commands)}
    return {f"{name}.1.gz": _compressed(page(one, command)) for name, one in found.items()}


def page(command: Command, program: Command) -> str:
    """Return the page of the program or of one of its verbs."""
    name = "-".join(command.path)
    whole = command.path == program.path
    shown = [command] if whole else [one for one in command.all() if not one.commands]
    lines = [f'.TH {name.upper()} 1 {_DATE} "Skerry {__version__}" "Skerry"', ".SH NAME"]
    lines += [f"{_text(name)} \\- {_text(_lower(command.help))}", ".SH SYNOPSIS"]
    lines += [".nh", ".ad l", "\n.br\n".join(map(_usage, shown)), ".ad", ".hy"]
    if whole:
        lines += [".SH COMMANDS"]
        for verb in command.commands:
            lines += _item(f"\\fB{_text('-'.join(verb.path))}\\fR(1)", verb.help)
    for one in shown:
        described = [*one.arguments, *one.options]
        if len(shown) == 1:
            lines += [".SH OPTIONS"] if described else []
        else:
            lines += [f'.SH "{_text(" ".join(one.path[1:]).upper())}"', _line(one.help)]
            described = [option for option in described if _told(option)]
        for option in described:
            lines += _item(_head(option), option.help)
    lines += [".SH EXIT STATUS"]
    for status, meaning in _STATUS:
        lines += _item(f"\\fB{status}\\fR", meaning)
    lines += [".SH SEE ALSO", _see_also(command, program)]
    return "\n".join(lines) + "\n"


def _usage(command: Command) -> str:
    words = [f"\\fB{_text(' '.join(command.path))}\\fR"]
    words += [f"[{_head(option, short=True)}]" for option in command.options if _told(option)]
    for argument in command.arguments:
        words.append(f"[{_head(argument)}]" if argument.optional else _head(argument))
    if command.commands:
        words.append("\\fIVERB\\fR \\&...")
    return " ".join(words)


def _told(option: Option) -> bool:
    return "--help" not in option.flags


def _head(option: Option, *, short: bool = False) -> str:
    value = f"\\fI{_text(option.value)}\\fR" if option.value else ""
    if not option.flags:
        return value
    flags = option.flags[-1:] if short else option.flags
    named = ", ".join(f"\\fB{_text(flag)}\\fR" for flag in flags)
    return f"{named} {value}".rstrip()


def _item(head: str, told: str) -> list[str]:
    return [".TP", head, _line(told) if told else "\\&"]


def _see_also(command: Command, program: Command) -> str:
    others = [one for one in (program, *program.commands) if one.path != command.path]
    if command.path != program.path:
        others = [program]
    return ",\n".join(f"\\fB{_text('-'.join(one.path))}\\fR(1)" for one in others)


def _line(text: str) -> str:
    cleaned = _text(" ".join(text.split()))
    return f"\\&{cleaned}" if cleaned.startswith((".", "'")) else cleaned


def _text(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")


def _lower(text: str) -> str:
    return (text[:1].lower() + text[1:]).rstrip(".")


def _compressed(text: str) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        file.write(text.encode())
    return buffer.getvalue()
