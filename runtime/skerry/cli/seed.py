"""`skerry seed`: `apply`, by hand and at every boot before the services, and `report`, which leaves
on the seed what IT needs to enrol this device by its TPM (docs/seed.md).
"""

import argparse
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.cli._options import add_output

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from skerry.config.apply import Device


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("seed", help="apply the seed of this device")
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    apply = verbs.add_parser("apply", help="apply a seed that has not been applied yet")
    place = apply.add_mutually_exclusive_group()
    place.add_argument("--from", dest="folder", metavar="DIR", help="default: the seed partition")
    place.add_argument(
        "--boot", action="store_true", help="before the services: also set host name and network"
    )
    apply.add_argument("--dry-run", action="store_true", help="only say what would change")
    add_output(apply)
    apply.set_defaults(run=run_apply)
    report = verbs.add_parser("report", help="write the TPM's endorsement key on the seed")
    add_output(report)
    report.set_defaults(run=run_report)


def run_apply(options: argparse.Namespace) -> int:
    """Apply a seed; exit status 1 if it is refused, 0 also if there is none."""
    from skerry.cli._device import needs_root, this_device
    from skerry.config.seed import is_empty
    from skerry.host import seed

    needs_root("applying a seed")
    folder = None if options.folder is None else Path(options.folder)
    device = this_device(booting=options.boot, seed=folder)
    if folder is not None:
        return apply_on(folder, device, options, lambda _: nullcontext())
    if options.boot:
        seed.put_in_force(device.paths.etc)
    for disk in seed.find_seeds():
        with seed.mounted(disk) as mount_point:
            if is_empty(mount_point):
                continue
            status = apply_on(mount_point, device, options, seed.writable)
        if options.boot:
            seed.put_in_force(device.paths.etc)
        return status
    _say(options, {"result": "no-seed"}, f"no disk with the label {seed.LABEL} holds a seed")
    return 0


def run_report(options: argparse.Namespace) -> int:
    """Write device.json on the seed, once; exit status 0 also if there is no seed."""
    from skerry.cli._device import needs_root
    from skerry.cli.tpm import facts_of_tpm
    from skerry.config.seed import is_empty
    from skerry.host import seed

    needs_root("writing on the seed")
    for disk in seed.find_seeds():
        with seed.mounted(disk) as mount_point:
            if not is_empty(mount_point):
                return report_on(mount_point, facts_of_tpm, options, seed.writable)
    _say(options, {"result": "no-seed"}, f"no disk with the label {seed.LABEL} holds a seed")
    return 0


def report_on(
    folder: Path,
    facts: "Callable[[], dict[str, str]]",
    options: argparse.Namespace,
    writable: "Callable[[Path], AbstractContextManager[None]]",
) -> int:
    """Write device.json on the seed in a folder, unless it is that of this device already."""
    from skerry.config.seed import REPORT, seed_device

    device, file = seed_device(folder), folder / REPORT
    told = {"version": 1, "device": device}
    if file.is_file() and f'"device": {json.dumps(device)}' in file.read_text("utf-8", "replace"):
        _say(options, {"result": "unchanged"}, f"{REPORT} of {device} is on the seed")
        return 0
    found = facts()
    told |= {name: found[name] for name in ("registration_id", "endorsement_key")}
    with writable(folder):
        file.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    _say(options, {"result": "written"}, f"{REPORT} of {device} is written on the seed")
    return 0


def apply_on(
    folder: Path,
    device: "Device",
    options: argparse.Namespace,
    writable: "Callable[[Path], AbstractContextManager[None]]",
) -> int:
    """Apply the seed in a folder; `writable` opens it for writing."""
    from skerry.cli.config import print_outcome
    from skerry.config.seed import SeedError
    from skerry.config.seeding import apply_seed, explain, must_wipe, wipe

    try:
        seeded = apply_seed(folder, device, dry_run=options.dry_run)
    except SeedError as error:
        reason = str(error)
        _say(options, {"result": "refused", "reason": reason}, "")
        sys.stderr.write(f"skerry: seed refused: {reason}\n")
    else:
        reason = seeded.reason
        # at boot this goes to the console, where whole files would hide the one line that matters
        print_outcome(seeded.outcome, options.output, brief=options.boot)
        if reason:
            sys.stderr.write("skerry: seed refused; the device goes on with what it had\n")
    if reason and not options.dry_run:
        with writable(folder):
            explain(folder, reason)
    elif not reason and must_wipe(folder, device):
        with writable(folder):
            wipe(folder, device)
    return 1 if reason else 0


def _say(options: argparse.Namespace, value: dict[str, str], text: str) -> None:
    if options.output == "json":
        sys.stdout.write(json.dumps(value, indent=1) + "\n")
    elif text:
        sys.stdout.write(f"{text}\n")
