"""`skerry-lab device children` and `device parent`: who lies below which edge device."""

import argparse

from skerry_lab.cloud import Cloud
from skerry_lab.errors import LabError
from skerry_lab.verbs._common import add_command, add_group, opened, show, show_list


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both groups below `device`."""
    children = add_group(commands, "children", "devices right below an edge device")
    add = add_command(children, "add", "put devices below an edge device", _add)
    listed = add_command(children, "list", "list the devices below an edge device", _list)
    remove = add_command(children, "remove", "take devices away from an edge device", _remove)
    for parser in (add, listed, remove):
        parser.add_argument("--device-id", "-d", required=True, metavar="ID")
    add.add_argument("--child-list", "--cl", nargs="+", required=True, metavar="ID")
    which = remove.add_mutually_exclusive_group(required=True)
    which.add_argument("--child-list", "--cl", nargs="+", metavar="ID")
    which.add_argument("--remove-all", "-a", action="store_true")
    parent = add_group(commands, "parent", "the edge device above a device")
    chosen = add_command(parent, "set", "put a device below an edge device", _set)
    shown = add_command(parent, "show", "show the edge device above a device", _show)
    for parser in (chosen, shown):
        parser.add_argument("--device-id", "-d", required=True, metavar="ID")
    chosen.add_argument("--parent-device-id", "--pd", required=True, metavar="ID")
    for parser in (add, chosen):
        parser.add_argument(
            "--force", "-f", action="store_true", help="also from another edge device"
        )


def _add(options: argparse.Namespace) -> int:
    def work(cloud: Cloud) -> None:
        for child in options.child_list:
            _move(cloud, child, options.device_id, force=options.force)

    with opened(options) as store:
        store.do(work)
    return 0


def _list(options: argparse.Namespace) -> int:
    with opened(options) as store:
        rows = store.do(lambda cloud: _children(cloud, options.device_id))
    show_list(options, [{"deviceId": one} for one in rows], ("deviceId",))
    return 0


def _remove(options: argparse.Namespace) -> int:
    def work(cloud: Cloud) -> None:
        present = _children(cloud, options.device_id)
        for child in present if options.remove_all else options.child_list:
            if child not in present:
                raise LabError(f"device {child!r} is not a child of {options.device_id!r}")
            cloud.registry.set_parent(child, None)

    with opened(options) as store:
        store.do(work)
    return 0


def _set(options: argparse.Namespace) -> int:
    with opened(options) as store:
        store.do(
            lambda cloud: _move(
                cloud, options.device_id, options.parent_device_id, force=options.force
            )
        )
    return 0


def _show(options: argparse.Namespace) -> int:
    with opened(options) as store:
        found = store.do(lambda cloud: _parent(cloud, options.device_id))
    if found is None:
        raise LabError(f"device {options.device_id!r} has no parent")
    show(options, {"deviceId": found})
    return 0


def _move(cloud: Cloud, child: str, parent: str, *, force: bool) -> None:
    former = _parent(cloud, child)
    if former not in (None, parent) and not force:
        raise LabError(f"device {child!r} is a child of {former!r}; --force moves it")
    cloud.registry.set_parent(child, parent)


def _children(cloud: Cloud, device_id: str) -> list[str]:
    device = cloud.registry.device(device_id)
    return [child.device_id for child in cloud.registry.hierarchy.children(device)]


def _parent(cloud: Cloud, device_id: str) -> str | None:
    found = cloud.registry.hierarchy.parent(cloud.registry.device(device_id))
    return None if found is None else found.device_id
