"""`skerry secret list`, `set` and `remove`: secrets that modules get as files."""

import argparse
import json
import sys
from pathlib import Path

from skerry.base.errors import SkerryError
from skerry.cli._options import add_output, say

_ORIGINS = {"config": "config.toml", "hand": "skerry secret set", "none": "no value yet"}


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("secret", help="secrets that modules get as files")
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = verbs.add_parser("list", help="name the secrets and who uses them; never a value")
    listed.set_defaults(run=run_list)
    given = verbs.add_parser(
        "set",
        help="give a secret a value; running modules get it without a restart",
        epilog="The value is taken as it is, a line's end at its end included. It stands until "
        "config.toml brings another one.",
    )
    given.add_argument(
        "--file",
        metavar="FILE",
        default="-",
        help="the value; - (the default) reads standard input",
    )
    given.set_defaults(run=run_set)
    removed = verbs.add_parser("remove", help="take back a value that was set")
    removed.set_defaults(run=run_remove)
    for verb in (given, removed):
        verb.add_argument("name", metavar="NAME")
    for verb in (listed, given, removed):
        add_output(verb)


def run_list(options: argparse.Namespace) -> int:
    """List the secrets."""
    from skerry.cli._edged import edged
    from skerry.cli._text import columns

    with edged() as service:
        secrets = service.secrets()
    if options.output == "json":
        sys.stdout.write(json.dumps({"secrets": secrets}, indent=1) + "\n")
        return 0
    rows = [
        [
            str(secret["name"]),
            _ORIGINS[str(secret["origin"])],
            str(secret["sealedBy"]),
            ", ".join(map(str, _list(secret["modules"]))) or "-",
        ]
        for secret in secrets
    ]
    sys.stdout.write(columns(("NAME", "VALUE FROM", "SEALED BY", "MODULES"), rows))
    return 0


def run_set(options: argparse.Namespace) -> int:
    """Set a secret."""
    from skerry.cli._edged import edged

    value = _read(options.file)
    with edged() as service:
        service.set_secret(options.name, value)
    say(options, f"Set {options.name}", {"name": options.name, "result": "set"})
    return 0


def run_remove(options: argparse.Namespace) -> int:
    """Take back a value."""
    from skerry.cli._edged import edged

    with edged() as service:
        service.remove_secret(options.name)
    say(options, f"Removed {options.name}", {"name": options.name, "result": "removed"})
    return 0


def _read(file: str) -> bytes:
    from skerry.base.secret_file import MAX_BYTES

    if file == "-" and sys.stdin.isatty():
        import getpass

        return getpass.getpass("Value: ").encode()
    try:
        if file == "-":
            value = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                value = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SkerryError(f"{file} cannot be read: {error.strerror}") from error
    if not 0 < len(value) <= MAX_BYTES:
        raise SkerryError(f"the value has {len(value)} bytes, expected 1 to {MAX_BYTES}")
    return value


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
