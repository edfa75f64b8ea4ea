"""The native services: their sockets answer, none of them failed."""

import functools

from skerry.base.client import ApiError, ServiceClient, UnreachableError
from skerry.check.appliance import Appliance, Unit, table
from skerry.check.model import (
    Check,
    Finding,
    Fix,
    Section,
    error,
    ignored,
    ok,
    skipped,
    warning,
    worst,
)

SERVICES = ("keyd", "certd", "identityd", "tpmd", "edged")
_SOCKETS = {"edged": ("skerry-edged-mgmt.socket", "skerry-edged-workload.socket")}
_VERSIONS = {"edged": "2022-08-03"}
_ANSWER_SECONDS = 10.0
_BAD_SETTINGS = 153
_MANY_RESTARTS = 3


def _answers(appliance: Appliance, *, service: str) -> Finding:
    if service == "tpmd" and not uses_tpm(appliance):
        return ignored("this device does not prove its identity by a TPM")
    # asks the service alone: what it needs others for is their check's matter
    version = _VERSIONS.get(service, "2020-09-01")
    socket = appliance.socket(service)
    if not socket.exists():
        return error(
            f"{service} has no socket: {socket} does not exist",
            f"skerry check --fix, or: sudo systemctl start {_sockets(service)[0]}",
            *_unit_line(appliance, service),
            fix=_start(appliance, service),
        )
    try:
        ServiceClient(socket, version, _ANSWER_SECONDS).get("/config")
    except ApiError as problem:
        return error(
            f"{service} answers {problem.status}: {problem}",
            f"journalctl -u skerry-{service}",
            *_unit_line(appliance, service),
        )
    except UnreachableError as problem:
        if "Permission denied" in str(problem):
            return error(f"the socket of {service} may not be opened", "run it with sudo")
        return error(
            f"{service} does not answer: {problem}",
            f"skerry check --fix, or: sudo systemctl restart skerry-{service}; "
            f"then see: journalctl -u skerry-{service}",
            *_unit_line(appliance, service),
            fix=_start(appliance, service),
        )
    return ok(str(socket))


def uses_tpm(appliance: Appliance) -> bool:
    """Tell whether DPS knows this device by its TPM."""
    provisioning = table(appliance.settings("identityd"), "provisioning")
    return table(provisioning, "attestation").get("method") == "tpm"


def _units(appliance: Appliance) -> Finding:
    states = appliance.units.states(
        tuple(name for one in SERVICES for name in (f"skerry-{one}.service", *_sockets(one)))
    )
    if not states:
        return skipped("this machine has no systemd")
    found = [_unit(appliance, one, states.get(f"skerry-{one}.service")) for one in SERVICES]
    for one in SERVICES:
        for name in _sockets(one):
            unit = states.get(name)
            if unit is not None and unit.failed:
                cause = f"{name} failed: {one} cannot be reached"
                remedy = f"skerry check --fix, or: sudo systemctl restart {name}"
                found.append(error(cause, remedy, fix=_start(appliance, one)))
    return worst([one for one in found if one is not None], ok(f"{len(states)} units"))


def _unit(appliance: Appliance, service: str, unit: Unit | None) -> Finding | None:
    if unit is not None and unit.load == "masked":
        return error(
            f"{service} is masked: nothing may start it",
            f"skerry check --fix, or: sudo systemctl unmask {unit.name}; "
            f"sudo systemctl start {unit.name}",
            fix=_unmask(appliance, service),
        )
    if unit is None or unit.load != "loaded":
        return error(f"{service} is not installed", "install the package skerry again")
    if unit.failed and unit.status == _BAD_SETTINGS:
        return error(
            f"{service} refused its settings (status {_BAD_SETTINGS}) and is not started again",
            f"journalctl -u {unit.name} names the file; then: sudo skerry config apply",
        )
    if unit.failed:
        return error(
            f"{service} failed with status {unit.status}",
            f"skerry check --fix, or: sudo systemctl restart {unit.name}; "
            f"then see: journalctl -u {unit.name}",
            fix=_start(appliance, service),
        )
    if unit.restarts >= _MANY_RESTARTS:
        return warning(
            f"{service} ended by itself {unit.restarts} times since it was started",
            f"journalctl -u {unit.name}",
        )
    return None


def _unit_line(appliance: Appliance, service: str) -> tuple[str, ...]:
    unit = appliance.units.states((f"skerry-{service}.service",)).get(f"skerry-{service}.service")
    if unit is None:
        return ()
    return (f"{unit.name}: {unit.active} ({unit.sub}), last status {unit.status}",)


def _sockets(service: str) -> tuple[str, ...]:
    return _SOCKETS.get(service, (f"skerry-{service}.socket",))


def _start(appliance: Appliance, service: str) -> Fix:
    def run() -> None:
        unit = f"skerry-{service}.service"
        sockets = _sockets(service)
        appliance.units.run("systemctl", "reset-failed", unit, *sockets)
        # the listening end is made anew too: a socket file may be gone
        appliance.units.run("systemctl", "stop", unit)
        appliance.units.run("systemctl", "restart", *sockets)
        if service == "edged":
            appliance.units.run("systemctl", "start", unit)

    return Fix(f"started {service} again", run)


def _unmask(appliance: Appliance, service: str) -> Fix:
    def run() -> None:
        units = (f"skerry-{service}.service", *_sockets(service))
        appliance.units.run("systemctl", "unmask", *units)
        appliance.units.run("systemctl", "unmask", "--runtime", *units)
        _start(appliance, service).run()

    return Fix(f"unmasked and started {service}", run)


def _check(service: str, section: Section, name: str) -> Check:
    return Check(
        name,
        section,
        f"{service} answers on its socket",
        functools.partial(_answers, service=service),
        needs=("identityd-config-well-formed",) if service == "tpmd" else (),
    )


CHECKS = (
    *(_check(name, Section.IDENTITY, f"{name}-running") for name in SERVICES if name != "edged"),
    _check("edged", Section.APPLIANCE, "edged-running"),
    Check("service-units", Section.APPLIANCE, "no native service failed", _units),
)
