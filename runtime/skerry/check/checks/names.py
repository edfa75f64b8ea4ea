"""Names: the host's, the parent's."""

import ipaddress
import re

from skerry.check.appliance import Appliance
from skerry.check.model import Check, Finding, Section, error, ignored, ok, warning

_LABEL = re.compile(r"[a-zA-Z]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_MAX_LENGTH = 64


def _hostname(appliance: Appliance) -> Finding:
    name = str(appliance.settings("edged").get("hostname", ""))
    machine = appliance.hostname
    if _is_address(name):
        return ok(name)
    same = name.lower() == machine.lower() or name.lower().startswith(f"{machine.lower()}.")
    if not same:
        return error(
            f"config.toml says that this device is called {name!r}, the machine says {machine!r}",
            f"sudo hostnamectl hostname {name.partition('.')[0]}, or correct hostname in "
            "/etc/skerry/config.toml and apply it",
        )
    return _form("hostname", name, ok(name))


def _parent(appliance: Appliance) -> Finding:
    name = parent_of(appliance)
    if name is None:
        return ignored("this device has no parent")
    if _is_address(name):
        return ok(name)
    if len(name) > _MAX_LENGTH:
        return error(
            f"parent_hostname {name!r} has {len(name)} characters, expected at most {_MAX_LENGTH}",
            "give the parent a shorter name; it becomes the name in its certificate",
        )
    return _form("parent_hostname", name, ok(name))


def parent_of(appliance: Appliance) -> str | None:
    """Return the host name of the gateway above; None for a device that has none."""
    provisioning = appliance.settings("identityd").get("provisioning")
    name = provisioning.get("local_gateway_hostname") if isinstance(provisioning, dict) else None
    return name if isinstance(name, str) else None


def _form(what: str, name: str, well: Finding) -> Finding:
    if len(name) > _MAX_LENGTH:
        return warning(
            f"{what} {name!r} has {len(name)} characters, expected at most {_MAX_LENGTH}",
            "take a shorter name: certificates cannot carry a longer one",
        )
    if not all(_LABEL.fullmatch(label) for label in name.split(".")):
        return warning(
            f"{what} {name!r} is not a host name by RFC 1035",
            "use letters, digits and '-', a letter first; other devices may refuse this one",
        )
    return well


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


CHECKS = (
    Check(
        "hostname",
        Section.IDENTITY,
        "the host name in the settings is the machine's",
        _hostname,
        needs=("aziot-edged-config-well-formed",),
    ),
    Check(
        "parent_hostname",
        Section.EDGE,
        "the name of the parent is usable",
        _parent,
        needs=("identityd-config-well-formed",),
    ),
)
