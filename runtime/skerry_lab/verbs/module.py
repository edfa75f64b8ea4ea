"""`skerry-lab module`: module identities. Options are those of `az iot hub module-identity`."""

import argparse

from skerry_lab.cloud import Cloud
from skerry_lab.registry.model import Module, authentication_from, checked_id
from skerry_lab.verbs._common import add_command, add_group, opened, show, show_list

_COLUMNS = ("moduleId", "managedBy", "auth")


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    commands = add_group(subparsers, "module", "modules of a device")
    create = add_command(commands, "create", "register a module", _create)
    _add_ids(create)
    create.add_argument("--primary-key", "--pk", default="", metavar="BASE64")
    create.add_argument("--secondary-key", "--sk", default="", metavar="BASE64")
    listed = add_command(commands, "list", "list the modules of a device", _list)
    listed.add_argument("--device-id", "-d", required=True, metavar="ID")
    _add_ids(
        add_command(commands, "show", "show a module and its connection string", _show),
    )
    _add_ids(add_command(commands, "delete", "remove a module", _delete))


def _add_ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device-id", "-d", required=True, metavar="ID")
    parser.add_argument("--module-id", "-m", required=True, metavar="ID")


def _create(options: argparse.Namespace) -> int:
    def work(cloud: Cloud) -> dict[str, object]:
        keys = {"primaryKey": options.primary_key, "secondaryKey": options.secondary_key}
        authentication = authentication_from({"symmetricKey": keys}, cloud.registry.fresh_keys())
        module_id = checked_id(options.module_id, "module")
        module = Module(options.device_id, module_id, authentication)
        return _facts(cloud, cloud.registry.put_module(module))

    with opened(options) as store:
        show(options, store.do(work))
    return 0


def _list(options: argparse.Namespace) -> int:
    def work(cloud: Cloud) -> list[dict[str, object]]:
        cloud.registry.device(options.device_id)
        modules = cloud.registry.store.modules(options.device_id)
        return [_facts(cloud, module) for module in modules]

    with opened(options) as store:
        rows = store.do(work)
    show_list(options, rows, _COLUMNS)
    return 0


def _show(options: argparse.Namespace) -> int:
    with opened(options) as store:
        facts = store.do(
            lambda cloud: _facts(cloud, cloud.registry.module(options.device_id, options.module_id))
        )
    show(options, facts)
    return 0


def _delete(options: argparse.Namespace) -> int:
    with opened(options) as store:
        store.do(lambda cloud: cloud.registry.delete_module(options.device_id, options.module_id))
    return 0


def _facts(cloud: Cloud, module: Module) -> dict[str, object]:
    who = f"HostName={cloud.names.own};DeviceId={module.device_id};ModuleId={module.module_id};"
    key = module.authentication.primary_key
    return {
        "deviceId": module.device_id,
        "moduleId": module.module_id,
        "managedBy": module.managed_by,
        "auth": module.authentication.type.value,
        "generationId": module.generation_id,
        "connectionString": who + (f"SharedAccessKey={key}" if key else "x509=true"),
    }
