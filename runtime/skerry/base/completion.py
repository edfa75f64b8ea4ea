"""Completion scripts for bash, zsh and fish, written from a command's tree. Pure.

The scripts are complete in themselves: pressing Tab starts no Python. Where nothing is known about
a word, the shell offers files.
"""

import shlex
from collections.abc import Iterator

from skerry.base.commands import Command, Option


def completion(command: Command, shell: str) -> str:
    """Return the script for bash, zsh or fish."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](command)


def _function(command: Command) -> str:
    return "_" + command.path[0].replace("-", "_")


def _key(command: Command) -> str:
    return " ".join(command.path)


def _flags(command: Command) -> list[tuple[str, Option]]:
    return [(flag, option) for option in command.options for flag in option.flags]


def _words(command: Command) -> list[tuple[str, str]]:
    """Return what may stand in place of the next word, and what it means."""
    found = [(below.path[-1], below.help) for below in command.commands]
    found += [(value, "") for argument in command.arguments for value in argument.values]
    return found + [(flag, option.help) for flag, option in _flags(command)]


def _walk(command: Command) -> Iterator[str]:
    """Yield the cases of a shell that lead from a command to the one below it."""
    for below in command.all():
        if len(below.path) > 1:
            yield f'      "{_key(below)}") at="{_key(below)}" ;;'


def _bash(command: Command) -> str:
    name = _function(command)
    values, words = [], []
    for below in command.all():
        for flag, option in _flags(below):
            if option.values:
                values.append(f'    "{_key(below)} {flag}") words="{" ".join(option.values)}" ;;')
            elif option.value:
                values.append(f'    "{_key(below)} {flag}") return ;;')
        offered = " ".join(word for word, _ in _words(below))
        words.append(f'      "{_key(below)}") words="{offered}" ;;')
    return "\n".join(
        [
            f"# bash completion of {command.path[0]}; made from its command line",
            f"{name}() {{",
            '  local word words="" at="' + command.path[0] + '"',
            '  local previous="${COMP_WORDS[COMP_CWORD-1]}" current="${COMP_WORDS[COMP_CWORD]}"',
            '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
            '    case "$at $word" in',
            *_walk(command),
            "    esac",
            "  done",
            "  COMPREPLY=()",
            '  case "$at $previous" in',
            *values,
            "  esac",
            '  if [ -z "$words" ]; then',
            '    case "$at" in',
            *words,
            "    esac",
            "  fi",
            '  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")',
            "}",
            f"complete -o default -F {name} {command.path[0]}",
            "",
        ]
    )


def _zsh(command: Command) -> str:
    name = _function(command)
    values, words = [], []
    for below in command.all():
        for flag, option in _flags(below):
            if option.values:
                values.append(f'    "{_key(below)} {flag}") offered=({_zsh_words(option)}) ;;')
            elif option.value:
                values.append(f'    "{_key(below)} {flag}") _files; return ;;')
        offered = " ".join(
            shlex.quote(word.replace(":", "\\:") + (f":{told}" if told else ""))
            for word, told in _words(below)
        )
        words.append(f'      "{_key(below)}") offered=({offered}) ;;')
    return "\n".join(
        [
            f"#compdef {command.path[0]}",
            f"# zsh completion of {command.path[0]}; made from its command line",
            f"{name}() {{",
            f'  local word at="{command.path[0]}"',
            "  local -a offered",
            '  for word in "${(@)words[2,CURRENT-1]}"; do',
            '    case "$at $word" in',
            *_walk(command),
            "    esac",
            "  done",
            '  case "$at ${words[CURRENT-1]}" in',
            *values,
            "  esac",
            "  if (( ! $#offered )); then",
            '    case "$at" in',
            *words,
            "    esac",
            "  fi",
            "  _describe -t words word offered || _files",
            "}",
            f'if [ "$funcstack[1]" = {name} ]; then {name} "$@"; else compdef {name} '
            f"{command.path[0]}; fi",
            "",
        ]
    )


def _zsh_words(option: Option) -> str:
    return " ".join(shlex.quote(value.replace(":", "\\:")) for value in option.values)


def _fish(command: Command) -> str:
    program, name = command.path[0], "_" + _function(command)
    lines = [
        f"# fish completion of {program}; made from its command line",
        f"function {name}",
        f"  set -l at {program}",
        "  for word in (commandline -opc)[2..]",
        '    switch "$at $word"',
        *(
            f"      case {_fish_quoted(_key(below))}\n        set at {_fish_quoted(_key(below))}"
            for below in command.all()
            if len(below.path) > 1
        ),
        "    end",
        "  end",
        '  test "$at" = "$argv"',
        "end",
    ]
    for below in command.all():
        at = f"complete -c {program} -n {_fish_quoted(f'{name} {_key(below)}')}"
        for lower in below.commands:
            told = f" -d {_fish_quoted(lower.help)}" if lower.help else ""
            lines.append(f"{at} -f -a {_fish_quoted(lower.path[-1])}{told}")
        for argument in below.arguments:
            if argument.values:
                lines.append(f"{at} -f -a {_fish_quoted(' '.join(argument.values))}")
        lines += [f"{at} {_fish_option(option)}" for option in below.options]
    return "\n".join([*lines, ""])


def _fish_option(option: Option) -> str:
    parts = [
        f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags
    ]
    if option.values:
        parts.append(f"-x -a {_fish_quoted(' '.join(option.values))}")
    elif option.value:
        parts.append("-r")
    if option.help:
        parts.append(f"-d {_fish_quoted(option.help)}")
    return " ".join(parts)


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
