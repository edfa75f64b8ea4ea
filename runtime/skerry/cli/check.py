"""`skerry check`: what is wrong with this appliance, why, and what helps; `--fix` repairs.

Options and JSON are Azure IoT Edge's (azure-iot-edge.md §7.1). Exit status: 0 well, 1 errors (with
`--warnings-as-errors` warnings as well), 2 usage.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.cli._options import add_output

if TYPE_CHECKING:
    from skerry.check.appliance import Appliance, Options

_ENGINE_CONFIG = "/etc/docker/daemon.json"


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("check", help="say what is wrong, why, and what helps")
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these; see: skerry check-list")
    parser.add_argument(
        "--dont-run", nargs="+", action="extend", default=[], metavar="ID", help="all but these"
    )
    parser.add_argument("--fix", action="store_true", help="repair what can be repaired safely")
    parser.add_argument("--verbose", action="store_true", help="show what is well, too")
    parser.add_argument(
        "--warnings-as-errors", action="store_true", help="exit 1 when there is a warning"
    )
    add_output(parser, "-o")
    parser.add_argument("--iothub-hostname", metavar="HOST", help="where DPS has not named one")
    parser.add_argument("--proxy-uri", metavar="URI", help="the way out")
    parser.add_argument("--ntp-server", metavar="HOST", help="default pool.ntp.org")
    parser.add_argument(
        "--diagnostics-image-name", metavar="IMAGE", help="what looks from inside a container"
    )
    parser.add_argument(
        "--container-engine-config-file",
        metavar="FILE",
        default=_ENGINE_CONFIG,
        help=f"default {_ENGINE_CONFIG}",
    )
    for name in ("--expected-aziot-edged-version", "--expected-aziot-version"):
        parser.add_argument(name, dest="expected", metavar="VERSION", help="what should run here")
    # scripts for Azure IoT Edge give it; there is one package here, and no program to look for
    parser.add_argument("--aziot-edged", metavar="PATH", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the checks of this machine."""
    from skerry.check.machine import this_appliance

    return check_on(options, this_appliance(_options(options)))


def check_on(options: argparse.Namespace, appliance: "Appliance") -> int:
    """Run the checks on an appliance, repair if asked, and show what was found."""
    from skerry.check.discover import all_checks, choose
    from skerry.check.report import exit_status, json_of, text_of, wants_colour
    from skerry.check.run import repair, run_checks

    unwanted = [one for given in options.dont_run for one in given.replace(",", " ").split()]
    checks = choose(all_checks(), options.ids, unwanted)
    outcomes = run_checks(checks, appliance)
    if options.fix:
        outcomes = repair(outcomes, lambda some: run_checks(some, _anew(appliance)), _tell)
    if options.output == "json":
        document = json_of(outcomes, appliance, appliance.clock.now())
        sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(
            text_of(
                outcomes,
                verbose=options.verbose,
                colour=wants_colour(sys.stdout),
                chosen=bool(options.ids),
            )
        )
    return exit_status(outcomes, warnings_as_errors=options.warnings_as_errors)


def _anew(appliance: "Appliance") -> "Appliance":
    from skerry.check.appliance import Facts

    return replace(appliance, facts=Facts())


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _options(given: argparse.Namespace) -> "Options":
    from skerry.check.appliance import Options

    default = Options()
    return Options(
        iothub_hostname=given.iothub_hostname,
        proxy_uri=given.proxy_uri,
        ntp_server=given.ntp_server or default.ntp_server,
        expected_version=given.expected,
        diagnostics_image=given.diagnostics_image_name,
        engine_config=Path(given.container_engine_config_file),
    )
