"""`skerry-lab twin`: twins by hand. Options are those of `az iot hub device-twin`."""

import argparse
from collections.abc import Callable

from skerry.wire.identity import Identity
from skerry_lab.cloud import Cloud
from skerry_lab.twins.model import Twin
from skerry_lab.verbs._common import (
    add_command,
    add_group,
    add_identity,
    identity_of,
    json_value,
    opened,
    show_json,
)

Change = Callable[[Cloud, Identity], Twin]


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    commands = add_group(subparsers, "twin", "tags, desired and reported properties")
    add_identity(add_command(commands, "show", "print a twin, JSON", _show))
    update = add_command(commands, "update", "merge tags and desired properties, null removes", _up)
    replace = add_command(commands, "replace", "put other tags and desired properties", _replace)
    for parser in (update, replace):
        add_identity(parser)
        parser.add_argument("--tags", type=json_value, metavar="JSON")
        parser.add_argument("--desired", type=json_value, metavar="JSON")
        parser.add_argument("--etag", "-e", default="*", help="change only this version")


def _show(options: argparse.Namespace) -> int:
    identity = identity_of(options)
    with opened(options) as store:
        show_json(store.do(lambda cloud: _document(identity, cloud.twins.get(identity))))
    return 0


def _up(options: argparse.Namespace) -> int:
    return _change(
        options,
        lambda cloud, identity: cloud.twins.patch(
            identity, tags=options.tags, desired=options.desired, if_match=options.etag
        ),
    )


def _replace(options: argparse.Namespace) -> int:
    return _change(
        options,
        lambda cloud, identity: cloud.twins.replace(
            identity, tags=options.tags, desired=options.desired, if_match=options.etag
        ),
    )


def _change(options: argparse.Namespace, change: Change) -> int:
    identity = identity_of(options)
    with opened(options) as store:
        show_json(store.do(lambda cloud: _document(identity, change(cloud, identity))))
    return 0


def _document(identity: Identity, twin: Twin) -> dict[str, object]:
    return {
        "deviceId": identity.device_id,
        "moduleId": identity.module_id,
        "etag": twin.etag,
        "version": twin.version,
        "tags": dict(twin.tags),
        "properties": {"desired": twin.desired.to_json(), "reported": twin.reported.to_json()},
    }
