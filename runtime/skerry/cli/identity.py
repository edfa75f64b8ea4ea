"""`skerry identity show`: who this device is, how it proves it, and which modules it has."""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from skerry.cli._options import add_output

if TYPE_CHECKING:
    from skerry.identity.client import Identity

_WIDTH = 18
_LABELS = {
    "source": "source",
    "auth": "proof",
    "endpoint": "endpoint",
    "scope_id": "scope id",
    "registration_id": "registration id",
    "payload": "payload",
}


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("identity", help="who this device is")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="show the device's identity and its modules")
    add_output(show)
    show.set_defaults(run=run_show)


def run_show(options: argparse.Namespace) -> int:
    """Print the identity; exit status 1 while the device has none, with the reason."""
    from skerry.base.client import ApiError, UnreachableError
    from skerry.base.errors import SkerryError
    from skerry.cli._units import socket_of
    from skerry.identity.client import IdentityClient

    client = IdentityClient(socket_of("identityd"))
    device: Identity | None = None
    modules: list[str] = []
    problem: str | None = None
    try:
        provisioning = client.provisioning()
        try:
            device = client.device()
            modules = sorted(one.module_id for one in client.modules() if one.module_id)
        except ApiError as error:
            problem = str(error)
    except UnreachableError as error:
        remedy = "run it with sudo" if "Permission denied" in str(error) else "is it configured?"
        raise SkerryError(f"{error}; {remedy} (journalctl -u skerry-identityd)") from error
    if options.output == "json":
        sys.stdout.write(json.dumps(as_json(provisioning, device, modules, problem), indent=1))
        sys.stdout.write("\n")
    else:
        sys.stdout.write(as_text(provisioning, device, modules))
        if problem is not None:
            sys.stderr.write(f"skerry: no identity: {problem}\n")
    return 0 if problem is None else 1


def as_json(
    provisioning: Mapping[str, object],
    device: "Identity | None",
    modules: list[str],
    problem: str | None,
) -> dict[str, object]:
    """Return what is known; handles of keys are nobody's business."""
    identity = None
    if device is not None:
        identity = {
            "hub": device.hub_name,
            "gateway": device.gateway_host,
            "device_id": device.device_id,
            "auth": device.auth_type,
        }
    return {
        "provisioning": dict(provisioning),
        "device": identity,
        "modules": modules,
        "problem": problem,
    }


def as_text(
    provisioning: Mapping[str, object], device: "Identity | None", modules: list[str]
) -> str:
    """Return the same as lines of a name and a value."""
    lines = [(label, provisioning.get(key)) for key, label in _LABELS.items()]
    if device is not None:
        lines += [
            ("hub", device.hub_name),
            ("gateway", device.gateway_host),
            ("device id", device.device_id),
            ("modules", ", ".join(modules) or "none"),
        ]
    return "".join(f"{label:<{_WIDTH}}{value}\n" for label, value in lines if value is not None)
