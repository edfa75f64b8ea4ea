"""`skerry-lab device`: the registry by hand. Options are those of the Azure CLI."""

import argparse
from dataclasses import replace

from skerry_lab.cloud import Cloud
from skerry_lab.registry.errors import bad_argument
from skerry_lab.registry.model import (
    MAX_DEVICES_LISTED,
    Authentication,
    AuthType,
    Device,
    Status,
    authentication_from,
    checked_id,
)
from skerry_lab.registry.service import ANY
from skerry_lab.store import device_connection_string
from skerry_lab.verbs import _family
from skerry_lab.verbs._common import add_command, add_group, opened, show, show_list, switch

_METHODS = {
    "shared_private_key": AuthType.SAS,
    "x509_thumbprint": AuthType.SELF_SIGNED,
    "x509_ca": AuthType.CERTIFICATE_AUTHORITY,
}
_COLUMNS = ("deviceId", "status", "auth", "edge")


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    commands = add_group(subparsers, "device", "devices of the registry")
    create = add_command(commands, "create", "register a device", _create)
    create.add_argument("device_id", metavar="ID")
    _add_credentials(create, method="shared_private_key", value="")
    create.add_argument("--edge-enabled", "--ee", type=switch, default=True, metavar="true|false")
    create.add_argument("--parent", "--pd", metavar="ID", help="the edge device above it")
    create.add_argument("--status", choices=tuple(Status), default=Status.ENABLED)
    update = add_command(commands, "update", "change a device's state or credentials", _update)
    update.add_argument("device_id", metavar="ID")
    _add_credentials(update, method=None, value=None)
    update.add_argument("--status", choices=tuple(Status), help="disabled ends its connections")
    renew = add_command(commands, "renew-key", "replace or swap a device's keys", _renew_key)
    renew.add_argument("device_id", metavar="ID")
    renew.add_argument(
        "--key-type", "--kt", choices=("primary", "secondary", "both", "swap"), required=True
    )
    add_command(commands, "list", "list devices", _list)
    shown = add_command(commands, "show", "show a device and its connection string", _show)
    shown.add_argument("device_id", metavar="ID")
    delete = add_command(commands, "delete", "remove a device and its modules", _delete)
    delete.add_argument("device_id", metavar="ID")
    _family.register(commands)


def _add_credentials(
    parser: argparse.ArgumentParser, *, method: str | None, value: str | None
) -> None:
    parser.add_argument("--auth-method", "--am", choices=sorted(_METHODS), default=method)
    parser.add_argument("--primary-key", "--pk", default=value, metavar="BASE64")
    parser.add_argument("--secondary-key", "--sk", default=value, metavar="BASE64")
    parser.add_argument("--primary-thumbprint", "--ptp", default=value, metavar="HEX")
    parser.add_argument("--secondary-thumbprint", "--stp", default=value, metavar="HEX")


def _create(options: argparse.Namespace) -> int:
    def work(cloud: Cloud) -> dict[str, object]:
        device = Device(
            checked_id(options.device_id, "device"),
            _authentication(options, cloud.registry.fresh_keys()),
            status=Status(options.status),
            edge=options.edge_enabled,
        )
        made = cloud.registry.put_device(device)
        if options.parent is not None:
            made = cloud.registry.set_parent(made.device_id, options.parent)
        return _facts(cloud, made)

    with opened(options) as store:
        show(options, store.do(work))
    return 0


def _update(options: argparse.Namespace) -> int:
    def work(cloud: Cloud) -> dict[str, object]:
        device = cloud.registry.device(options.device_id)
        former = device.authentication
        kind = _METHODS.get(options.auth_method, former.type)
        given = {
            "type": kind.value,
            "symmetricKey": {
                "primaryKey": _or(options.primary_key, former.primary_key),
                "secondaryKey": _or(options.secondary_key, former.secondary_key),
            },
            "x509Thumbprint": {
                "primaryThumbprint": _or(options.primary_thumbprint, former.primary_thumbprint),
                "secondaryThumbprint": _or(
                    options.secondary_thumbprint, former.secondary_thumbprint
                ),
            },
        }
        changed = replace(
            device,
            authentication=authentication_from(given, cloud.registry.fresh_keys()),
            status=Status(options.status) if options.status else device.status,
        )
        return _facts(cloud, cloud.registry.put_device(changed, if_match=ANY))

    with opened(options) as store:
        show(options, store.do(work))
    return 0


def _renew_key(options: argparse.Namespace) -> int:
    def work(cloud: Cloud) -> dict[str, object]:
        device = cloud.registry.device(options.device_id)
        former, fresh = device.authentication, cloud.registry.fresh_keys()
        if former.type is not AuthType.SAS:
            raise bad_argument(f"device {device.device_id!r} does not authenticate by key")
        keys = {
            "primary": (fresh.primary_key, former.secondary_key),
            "secondary": (former.primary_key, fresh.secondary_key),
            "both": (fresh.primary_key, fresh.secondary_key),
            "swap": (former.secondary_key, former.primary_key),
        }[options.key_type]
        changed = replace(device, authentication=Authentication(AuthType.SAS, *keys))
        return _facts(cloud, cloud.registry.put_device(changed, if_match=ANY))

    with opened(options) as store:
        show(options, store.do(work))
    return 0


def _or(given: str | None, former: str) -> str:
    return former if given is None else given


def _list(options: argparse.Namespace) -> int:
    with opened(options) as store:
        rows = store.do(
            lambda cloud: [
                _facts(cloud, device) for device in cloud.registry.store.devices(MAX_DEVICES_LISTED)
            ]
        )
    show_list(options, rows, _COLUMNS)
    return 0


def _show(options: argparse.Namespace) -> int:
    with opened(options) as store:
        facts = store.do(lambda cloud: _facts(cloud, cloud.registry.device(options.device_id)))
    show(options, facts)
    return 0


def _delete(options: argparse.Namespace) -> int:
    with opened(options) as store:
        store.do(lambda cloud: cloud.registry.delete_device(options.device_id))
    return 0


def _authentication(options: argparse.Namespace, fresh: Authentication) -> Authentication:
    return authentication_from(
        {
            "type": _METHODS[options.auth_method].value,
            "symmetricKey": {
                "primaryKey": options.primary_key,
                "secondaryKey": options.secondary_key,
            },
            "x509Thumbprint": {
                "primaryThumbprint": options.primary_thumbprint,
                "secondaryThumbprint": options.secondary_thumbprint,
            },
        },
        fresh,
    )


def _facts(cloud: Cloud, device: Device) -> dict[str, object]:
    parent = cloud.registry.hierarchy.parent(device)
    return {
        "deviceId": device.device_id,
        "status": device.status.value,
        "auth": device.authentication.type.value,
        "edge": device.edge,
        "parent": None if parent is None else parent.device_id,
        "generationId": device.generation_id,
        "connectionString": device_connection_string(device, cloud.names.own),
    }
