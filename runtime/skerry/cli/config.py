"""`skerry config check`, `apply`, `mp` and `import`."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from skerry.cli._options import add_output

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from skerry.config.apply import Device, Outcome
    from skerry.config.plan import Plan
    from skerry.config.problems import Problem

_DEFAULT = "/etc/skerry/config.toml"
_MAX_BYTES = 4 * 1024 * 1024


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("config", help="check config.toml, or put it in force")
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = verbs.add_parser("check", help="say everything that is wrong with a configuration")
    check.add_argument("file", metavar="FILE", help="the configuration; - reads standard input")
    check.set_defaults(run=run_check)
    apply = verbs.add_parser("apply", help="put a configuration in force on this device")
    apply.add_argument(
        "--config",
        metavar="FILE",
        default=_DEFAULT,
        help=f"default {_DEFAULT}; - reads standard input",
    )
    apply.add_argument("--dry-run", action="store_true", help="only say what would change")
    apply.add_argument(
        "--output-dir",
        metavar="DIR",
        help="write the files of the services there, change nothing else",
    )
    apply.set_defaults(run=run_apply)
    point = verbs.add_parser("mp", help="write a configuration for one connection string")
    point.add_argument(
        "-c", "--connection-string", metavar="TEXT", required=True, help="- reads standard input"
    )
    point.set_defaults(run=run_mp)
    take = verbs.add_parser("import", help="turn a configuration of Azure IoT Edge into ours")
    take.add_argument(
        "-c", "--config", metavar="FILE", help="default /etc/aziot/config.toml, else config.yaml"
    )
    take.set_defaults(run=run_import)
    for verb in (point, take):
        verb.add_argument(
            "-o", "--out", metavar="FILE", default=_DEFAULT, help=f"default {_DEFAULT}"
        )
        verb.add_argument("-f", "--force", action="store_true", help="replace the file")
    for verb in (check, apply, point, take):
        add_output(verb)


def run_mp(options: argparse.Namespace) -> int:
    """Write a configuration for one connection string."""
    from skerry.cli._config_import import run_mp as run

    return run(options)


def run_import(options: argparse.Namespace) -> int:
    """Turn a configuration of Azure IoT Edge into ours."""
    from skerry.cli._config_import import run_import as run

    return run(options)


def run_check(options: argparse.Namespace) -> int:
    """Report every problem; exit status 1 if there is one."""
    from skerry.config.document import read

    document = read(_read(options.file), options.file)
    if options.output == "json":
        _print_json(
            {
                "result": "refused" if document.problems else "ok",
                "problems": [problem.to_json() for problem in document.problems],
                "warnings": [warning.to_json() for warning in document.warnings],
            }
        )
    else:
        _print_problems(document.problems, document.warnings)
        if not document.problems:
            sys.stdout.write(f"{options.file}: ok\n")
    return 1 if document.problems else 0


def run_apply(options: argparse.Namespace) -> int:
    """Apply, or only say or render what would be applied; exit status 1 if it is not in force."""
    from skerry.cli._device import needs_root, this_device

    if options.output_dir is not None:
        return render_for(options, this_device(rendering=True))
    if not options.dry_run:
        needs_root("applying a configuration")
    return apply_on(options, this_device())


def render_for(options: argparse.Namespace, device: "Device") -> int:
    """Write the files of the services to a folder, for the present user alone."""
    from pathlib import Path

    from skerry.config.apply import render

    plan, outcome = render(_read(options.config), options.config, device)
    if plan is not None and not options.dry_run:
        _write_rendered(plan, Path(options.output_dir))
    print_outcome(outcome, options.output)
    return 0 if outcome.ok else 1


def apply_on(options: argparse.Namespace, device: "Device") -> int:
    """Apply to a device, and show what was done."""
    from skerry.base.errors import SkerryError
    from skerry.config.apply import apply

    try:
        outcome = apply(_read(options.config), options.config, device, dry_run=options.dry_run)
    except PermissionError as error:
        raise SkerryError(
            f"{error.filename} cannot be read; run as root, or give --output-dir"
        ) from error
    except OSError as error:
        raise SkerryError(f"the configuration was not applied: {error}") from error
    print_outcome(outcome, options.output)
    return 0 if outcome.ok else 1


def print_outcome(outcome: "Outcome", form: str, *, brief: bool = False) -> None:
    """Show what apply did, as text or JSON; `brief` leaves the differences out of the text."""
    if form == "json":
        _print_json(outcome.to_json())
        return
    if outcome.result == "rolled-back":
        for problem in outcome.problems:
            sys.stderr.write(f"skerry: {problem.message}\n")
    else:
        _print_problems(outcome.problems, outcome.warnings)
    if outcome.ok:
        sys.stdout.write("" if brief else outcome.diff)
        sys.stdout.write(_summary(outcome))


def _summary(outcome: "Outcome") -> str:
    changed = ", ".join(outcome.changed)
    if outcome.result == "unchanged":
        return f"unchanged: generation {outcome.generation} is in force\n"
    if outcome.result == "would-change":
        return f"would change: {changed}\n"
    restarted = ", ".join(outcome.restarted) or "nothing"
    return f"applied: generation {outcome.generation}; changed {changed}; restarted {restarted}\n"


def _print_problems(problems: "Sequence[Problem]", warnings: "Sequence[Problem]") -> None:
    for warning in warnings:
        sys.stdout.write(f"{warning} (warning)\n")
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        sys.stdout.write(f"{count}; nothing was applied.\n")


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _read(file: str) -> bytes:
    from pathlib import Path

    from skerry.base.errors import SkerryError
    from skerry.base.files import read_limited

    if file == "-":
        data = sys.stdin.buffer.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise SkerryError(f"standard input has more than {_MAX_BYTES} bytes")
        return data
    try:
        return read_limited(Path(file), _MAX_BYTES)
    except OSError as error:
        raise SkerryError(f"{file} cannot be read: {(error.strerror or '').lower()}") from error


def _write_rendered(plan: "Plan", folder: "Path") -> None:
    """Write the planned files for the present user alone; placed ones under their own paths."""
    from skerry.base.files import write_atomic

    targets = {folder / name: planned for name, planned in plan.files.items()}
    targets |= {folder / path.lstrip("/"): planned for path, planned in plan.placed.items()}
    for path, planned in targets.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, planned.data, mode=0o600)
