"""Settings: each service's own parser reads them, and what runs is what lies on the disk."""

import functools
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from skerry.base.client import ApiError, ServiceClient, UnreachableError
from skerry.base.errors import SettingsError
from skerry.base.settings import settings_digest
from skerry.certs.model import parse_settings as parse_certd
from skerry.check.appliance import Appliance
from skerry.check.model import (
    Check,
    Finding,
    Fix,
    Section,
    error,
    fatal,
    ignored,
    ok,
    skipped,
    warning,
    worst,
)
from skerry.identity.settings import parse_settings as parse_identityd
from skerry.keys.model import parse_settings as parse_keyd
from skerry.tpm.model import parse_settings as parse_tpmd
from skerry.workloads.settings import parse_settings as parse_edged

PARSERS: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "keyd": parse_keyd,
    "certd": parse_certd,
    "identityd": parse_identityd,
    "tpmd": parse_tpmd,
    "edged": parse_edged,
}
IDENTITY_SERVICES = ("keyd", "certd", "identityd", "tpmd")
_APPLY = "sudo skerry config apply"
_VERSIONS = {"edged": "2022-08-03"}
_SHOWN = 5


def _in_force(appliance: Appliance) -> Finding:
    current = appliance.paths.current
    if not current.exists():
        what = "leads nowhere" if current.is_symlink() else "does not exist"
        return error(
            f"no configuration is in force: {current} {what}",
            f"write {appliance.paths.installed}, then: {_APPLY}",
        )
    return ok(f"generation {current.readlink().name}" if current.is_symlink() else str(current))


def _well_formed(appliance: Appliance, *, service: str) -> Finding:
    link = appliance.paths.etc / service / "config.d" / "00-super.toml"
    if not link.is_symlink() and not link.is_file():
        return error(
            f"{service} does not see the configuration: {link} is missing",
            "skerry check --fix, or: sudo systemd-tmpfiles --create skerry.conf",
            fix=_folders(appliance),
        )
    try:
        PARSERS[service](appliance.settings(service))
    except SettingsError as problem:
        if "Permission denied" in str(problem):
            return fatal(f"the settings of {service} cannot be read", "run it with sudo")
        return error(
            f"{service} refuses its settings: {problem}",
            f"correct the file that the message names, or write it anew: {_APPLY}",
        )
    return ok(f"{link}")


def _folders(appliance: Appliance) -> Fix:
    def run() -> None:
        appliance.units.run("systemd-tmpfiles", "--create", "skerry.conf")

    return Fix("made the folders and links of the package anew", run)


def _manifest(appliance: Appliance) -> Finding:
    document = appliance.document()
    if document is None:
        return ignored(f"there is no {appliance.paths.installed}")
    if document.problems:
        lines = tuple(str(problem) for problem in document.problems[:_SHOWN])
        more = len(document.problems) - len(lines)
        count = "1 problem" if len(document.problems) == 1 else f"{len(document.problems)} problems"
        return error(
            f"{document.file} has {count}; what was applied before stays in force",
            f"sudo skerry config check {document.file}",
            *lines,
            *([f"and {more} more"] if more else []),
        )
    if document.warnings:
        lines = tuple(str(problem) for problem in document.warnings[:_SHOWN])
        cause = f"{document.file} has keys that will go"
        return warning(cause, f"sudo skerry config check {document.file}", *lines)
    return ok(document.file)


def _up_to_date(appliance: Appliance) -> Finding:
    path = appliance.paths.installed
    if not path.is_file():
        return ignored(f"there is no {path}")
    generation = appliance.generation()
    if generation is None:
        return warning(f"{path} was never applied", _APPLY)
    applied = generation.files.get("config.toml")
    now = path.read_bytes()
    if applied is not None and _meaning(now) != _meaning(applied):
        return warning(
            f"{path} was changed after it was applied",
            f"see the difference with: {_APPLY} --dry-run; then: {_APPLY}",
            f"generation {generation.number} is in force",
        )
    return _running(appliance, IDENTITY_SERVICES)


def _meaning(text: bytes) -> object:
    try:
        return tomllib.loads(text.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        return text


def _edged_up_to_date(appliance: Appliance) -> Finding:
    return _running(appliance, ("edged",))


def _running(appliance: Appliance, services: tuple[str, ...]) -> Finding:
    """Compare what services run with (`GET /config`) with what lies on the disk."""
    found: list[Finding] = []
    asked = 0
    for service in services:
        # a service that is idle, or has no socket, is none that runs with old settings
        client = ServiceClient(
            appliance.socket(service), _VERSIONS.get(service, "2020-09-01"), _ANSWER_SECONDS
        )
        try:
            answer = client.get("/config")
        except (ApiError, UnreachableError):
            continue
        asked += 1
        here = settings_digest(appliance.paths.etc / service)
        if isinstance(answer, dict) and answer.get("digest") != here:
            found.append(
                warning(
                    f"{service} runs with older settings than those on the disk",
                    "skerry check --fix, or: sudo skerry system restart",
                    fix=_restart(appliance, service),
                )
            )
    return worst(found, ok(f"{asked} services asked") if asked else skipped("no service answers"))


_ANSWER_SECONDS = 5.0


def _restart(appliance: Appliance, service: str) -> Fix:
    unit = f"skerry-{service}.service"
    return Fix(f"restarted {service}", lambda: _do(appliance, "systemctl", "restart", unit))


def _do(appliance: Appliance, *command: str) -> None:
    appliance.units.run(*command)


def _intact(appliance: Appliance) -> Finding:
    generation = appliance.generation()
    if generation is None:
        return error(
            f"{appliance.paths.current} is no generation that can be read",
            f"{_APPLY} writes a new one",
        )
    if not generation.whole:
        folder = appliance.paths.generations / str(generation.number)
        return error(
            f"generation {generation.number} is not as it was written: a file was changed or lost",
            f"compare {folder} with its manifest.json; {_APPLY} writes a new generation",
        )
    return ok(f"generation {generation.number}, {len(generation.files)} files")


CHECKS = (
    Check("configuration", Section.APPLIANCE, "a configuration is in force", _in_force),
    *(
        Check(
            f"{service}-config-well-formed",
            Section.IDENTITY,
            f"{service} can read its settings",
            functools.partial(_well_formed, service=service),
            needs=("configuration",),
        )
        for service in IDENTITY_SERVICES
    ),
    Check(
        "configs-up-to-date",
        Section.IDENTITY,
        "config.toml is applied, and the identity services run with it",
        _up_to_date,
        needs=("keyd-config-well-formed",),
    ),
    Check(
        "aziot-edged-config-well-formed",
        Section.EDGE,
        "edged can read its settings",
        functools.partial(_well_formed, service="edged"),
        needs=("configuration",),
    ),
    Check(
        "config-up-to-date",
        Section.EDGE,
        "edged runs with the settings in force",
        _edged_up_to_date,
        needs=("aziot-edged-config-well-formed",),
    ),
    Check("config-valid", Section.APPLIANCE, "config.toml has no problems", _manifest),
    Check(
        "generation-intact",
        Section.APPLIANCE,
        "the configuration in force is as it was written",
        _intact,
        needs=("keyd-config-well-formed",),
    ),
)
