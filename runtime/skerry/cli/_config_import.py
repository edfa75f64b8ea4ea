"""`skerry config mp` and `skerry config import`: a config.toml is written, nothing is applied.

Both refuse to overwrite a file without --force, and write it for its owner alone: secrets are in
the clear until apply seals them.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from skerry import __version__
from skerry.base.errors import SkerryError
from skerry.base.files import read_limited, write_atomic

if TYPE_CHECKING:
    from skerry.config.importing import Notice

DEFAULT_OUT = "/etc/skerry/config.toml"
SOURCES = ("/etc/aziot/config.toml", "/etc/iotedge/config.yaml")
_UNIT_DIR = "/etc/systemd/system"
_UNITS = ("aziot-edged", "aziot-identityd", "aziot-certd", "iotedge")
_MAX_BYTES = 4 * 1024 * 1024


def run_mp(options: argparse.Namespace) -> int:
    """Write a configuration for manual provisioning with a connection string."""
    from skerry.config import emit
    from skerry.config.connection import parse_connection_string

    text = options.connection_string
    if text == "-":
        text = sys.stdin.readline(_MAX_BYTES).strip()
    try:
        parse_connection_string(text)
    except ValueError as error:
        raise SkerryError(f"the connection string cannot be used: {error}") from error
    tables = {
        "auto_reprovisioning_mode": "OnErrorOnly",
        "provisioning": {"source": "manual", "connection_string": text},
    }
    out = Path(options.out)
    _write(out, "# Written by `skerry config mp`.\n\n" + emit.dump(tables), force=options.force)
    if options.output == "json":
        _print_json({"result": "written", "file": str(out)})
    else:
        _print_next(out)
    return 0


def run_import(options: argparse.Namespace) -> int:
    """Translate another system's configuration; exit status 1 when it cannot be ours."""
    from skerry.config.importing import import_toml
    from skerry.config.legacy import import_yaml

    source = _source(options.config)
    data = _read(source)
    if source.suffix in {".yaml", ".yml"}:
        imported = import_yaml(data, __version__, lambda name: Path(name).exists())
    else:
        imported = import_toml(data, __version__)
    notices = [*imported.notices, *not_read(source, Path(_UNIT_DIR))]
    out = Path(options.out)
    if not imported.problems:
        _write(out, imported.text, force=options.force)
    if options.output == "json":
        result = "refused" if imported.problems else "imported"
        _print_json(
            {
                "result": result,
                "file": None if imported.problems else str(out),
                "warnings": [vars(notice) for notice in notices],
                "problems": [problem.to_json() for problem in imported.problems],
            }
        )
        return 1 if imported.problems else 0
    for notice in notices:
        sys.stderr.write(f"warning: {notice}\n")
    if imported.problems:
        for problem in imported.problems:
            expected = "" if problem.expected is None else f"; expected {problem.expected}"
            sys.stderr.write(f"{problem.key}: {problem.message}{expected}\n")
        sys.stderr.write(f"{source} was not imported; nothing was written\n")
        return 1
    _print_next(out)
    return 0


def _source(given: str | None) -> Path:
    if given is not None:
        return Path(given)
    found = [Path(name) for name in SOURCES if Path(name).exists()]
    if found:
        return found[0]
    raise SkerryError(f"there is no configuration at {' or '.join(SOURCES)}; give --config FILE")


def _read(path: Path) -> bytes:
    try:
        return read_limited(path, _MAX_BYTES)
    except OSError as error:
        raise SkerryError(f"{path} cannot be read: {(error.strerror or '').lower()}") from error


def not_read(source: Path, unit_dir: Path) -> list["Notice"]:
    """Name what somebody wrote by hand beside the file: settings, and drop-ins of the units."""
    from skerry.config.importing import Notice

    settings = sorted(source.parent.glob("*/config.d/*.toml"))
    drop_ins = sorted(file for unit in _UNITS for file in unit_dir.glob(f"{unit}.service.d/*.conf"))
    return [
        *(
            Notice(str(file), "was written by hand and is not read")
            for file in settings
            if file.name != "00-super.toml"
        ),
        *(
            Notice(str(file), "is not taken along; a proxy is set in a drop-in of skerry-*.service")
            for file in drop_ins
        ),
    ]


def _write(path: Path, text: str, *, force: bool) -> None:
    if os.path.lexists(path) and not force:
        raise SkerryError(
            f"{path} exists; put it in force with `skerry config apply`, or replace it with --force"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode(), mode=0o600)
    except OSError as error:
        raise SkerryError(f"{path} cannot be written: {(error.strerror or '').lower()}") from error


def _print_next(out: Path) -> None:
    sys.stdout.write(f"{out} was written; to put it in force:\n\n")
    sys.stdout.write(f"    sudo skerry config apply --config '{out}'\n")


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
