"""A command line as a tree: what completion and man pages are made from. Pure.

It is read from the argparse parser itself, so that neither can tell anything else than the command
does. Hidden options and verbs are left out.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """An option, or an argument without flags; `values` are all that it takes, if they are few."""

    flags: tuple[str, ...]
    value: str
    help: str
    values: tuple[str, ...] = ()
    optional: bool = True


@dataclass(frozen=True)
class Command:
    """One command with what may follow it; `path` begins with the program's name."""

    path: tuple[str, ...]
    help: str
    options: tuple[Option, ...]
    arguments: tuple[Option, ...]
    commands: tuple["Command", ...]

    def all(self) -> Iterator["Command"]:
        """Yield this command and all below it."""
        yield self
        for command in self.commands:
            yield from command.all()


def command_of(parser: argparse.ArgumentParser) -> Command:
    """Return the tree of a parser."""
    return _command(parser, (parser.prog,), parser.description or "")


def _command(parser: argparse.ArgumentParser, path: tuple[str, ...], told: str) -> Command:
    options: list[Option] = []
    arguments: list[Option] = []
    commands: list[Command] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {entry.dest: entry.help or "" for entry in action._choices_actions}
            commands += [
                _command(below, (*path, name), helps[name])
                for name, below in action.choices.items()
                if name in helps and helps[name] != argparse.SUPPRESS
            ]
        elif action.help != argparse.SUPPRESS:
            (options if action.option_strings else arguments).append(_option(action))
    return Command(
        path, parser.description or told, tuple(options), tuple(arguments), tuple(commands)
    )


def _option(action: argparse.Action) -> Option:
    values = tuple(str(value) for value in action.choices or ())
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if values and action.metavar is None:
        metavar = "|".join(values)
    told = "show this help and exit" if action.dest == "help" else action.help or ""
    if action.dest == "version":
        told = "show the version and exit"
    return Option(
        flags=tuple(action.option_strings),
        value="" if action.nargs == 0 else metavar,
        help=told.replace("%%", "%"),
        values=values,
        optional=bool(action.option_strings) or action.nargs in ("?", "*"),
    )
