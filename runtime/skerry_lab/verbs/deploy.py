"""`skerry-lab deploy`: what edge devices are to run. Options are those of `az iot edge`."""

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path

from skerry_lab.configurations.content import content_from
from skerry_lab.configurations.live_api import shown
from skerry_lab.configurations.model import AGENT_MODULE, Configuration, Content, is_layer
from skerry_lab.errors import LabError
from skerry_lab.store import Store
from skerry_lab.verbs._common import (
    add_command,
    add_group,
    finish_sweep,
    json_value,
    opened,
    read_json,
    show,
    show_json,
    show_list,
)

_LISTED = ("id", "priority", "targetCondition", "targetedCount", "appliedCount")


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    commands = add_group(subparsers, "deploy", "deployments of edge devices, configurations")
    create = add_command(commands, "create", "deploy to all devices that a condition targets", _new)
    _add_id(create)
    _add_content(create)
    create.add_argument("--layered", action="store_true", help="on top of another deployment")
    update = add_command(commands, "update", "change whom a deployment targets", _update)
    _add_id(update)
    for parser in (create, update):
        parser.add_argument("--target-condition", "--tc", metavar="CONDITION", help="'*' is all")
        parser.add_argument("--priority", "--pri", type=int, metavar="N", help="the highest wins")
        parser.add_argument("--labels", "--lab", type=json_value, metavar="JSON")
        parser.add_argument("--metrics", "-m", type=_inline, metavar="JSON|FILE", help="queries")
    remove = add_command(commands, "delete", "remove a deployment", _delete)
    _add_id(remove)
    for parser in (update, remove):
        parser.add_argument("--etag", "-e", default="*", help="change only this version")
    listing = add_command(commands, "list", "list deployments and configurations", _list)
    listing.add_argument("--top", type=int, default=-1, metavar="N")
    _add_id(add_command(commands, "show", "print a deployment, JSON", _show))
    metrics = add_command(commands, "metrics", "count how far a deployment is", _metrics)
    _add_id(metrics)
    metrics.add_argument("--metric-id", metavar="NAME", help="only this one")
    put = add_command(commands, "set", "put a deployment on one device", _set)
    put.add_argument("--device-id", "-d", required=True, metavar="ID")
    _add_content(put)


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--deployment-id", "-d", required=True, metavar="ID")


def _add_content(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--content", "-k", type=_inline, required=True, metavar="JSON|FILE", help="deployment.json"
    )


def _inline(text: str) -> object:
    """Read JSON, or that of a file, as options of the Azure CLI take it."""
    return json_value(text) if text.lstrip().startswith("{") else Path(text)


def _read(value: object) -> object:
    return read_json(value) if isinstance(value, Path) else value


def _new(options: argparse.Namespace) -> int:
    content = _part(_read(options.content), "content")
    body = {"content": content, **_changes(options)}
    with opened(options) as store:
        made = store.do(
            lambda cloud: _checked(
                cloud.configurations.put(options.deployment_id, body, None), options.layered
            )
        )
        return _finish(options, store, made)


def _update(options: argparse.Namespace) -> int:
    changes = _changes(options)
    if not changes:
        raise LabError(
            "nothing is to change; use --target-condition, --priority, --labels or --metrics"
        )
    with opened(options) as store:
        changed = store.do(
            lambda cloud: cloud.configurations.put(
                options.deployment_id,
                {**_body(cloud.configurations.get(options.deployment_id)), **changes},
                options.etag,
            )
        )
        return _finish(options, store, changed)


def _finish(options: argparse.Namespace, store: Store, configuration: Configuration) -> int:
    finish_sweep(store)
    counts = store.do(lambda cloud: cloud.configurations.counts(configuration))
    show(options, {"id": configuration.configuration_id, "etag": configuration.etag, **counts})
    return 0


def _delete(options: argparse.Namespace) -> int:
    with opened(options) as store:
        store.do(lambda cloud: cloud.configurations.remove(options.deployment_id, options.etag))
        finish_sweep(store)
    return 0


def _list(options: argparse.Namespace) -> int:
    with opened(options) as store:
        found = store.do(lambda cloud: cloud.configurations.store.all(options.top))
        rows = asyncio.run(shown(store, found))
    if options.output == "json":
        show_json(rows)
    else:
        show_list(options, [{**row, **_results(row, "systemMetrics")} for row in rows], _LISTED)
    return 0


def _show(options: argparse.Namespace) -> int:
    show_json(_one(options))
    return 0


def _metrics(options: argparse.Namespace) -> int:
    document = _one(options)
    results = {**_results(document, "systemMetrics"), **_results(document, "metrics")}
    if options.metric_id is not None:
        if options.metric_id not in results:
            raise LabError(
                f"{options.deployment_id} has no metric {options.metric_id!r}, expected one of "
                f"{', '.join(results)}"
            )
        results = {options.metric_id: results[options.metric_id]}
    show(options, results)
    return 0


def _set(options: argparse.Namespace) -> int:
    content = content_from(_read(options.content))
    with opened(options) as store:
        store.do(lambda cloud: cloud.deployments.apply(options.device_id, content))
    rows = [{"moduleId": module_id} for module_id in content]
    show_list(options, rows, ("moduleId",))
    return 0


def _one(options: argparse.Namespace) -> dict[str, object]:
    with opened(options) as store:
        found = store.do(lambda cloud: cloud.configurations.get(options.deployment_id))
        return asyncio.run(shown(store, [found]))[0]


def _results(document: Mapping[str, object], name: str) -> dict[str, object]:
    metrics = document[name]
    results = metrics.get("results") if isinstance(metrics, dict) else None
    return dict(results or {})


def _changes(options: argparse.Namespace) -> dict[str, object]:
    metrics = options.metrics
    given = {
        "targetCondition": options.target_condition,
        "priority": options.priority,
        "labels": options.labels,
        "metrics": None if metrics is None else _part(_read(metrics), "metrics"),
    }
    return {name: value for name, value in given.items() if value is not None}


def _part(document: object, name: str) -> object:
    """Return what is meant, whether or not it stands inside an object of its name."""
    return document.get(name, document) if isinstance(document, dict) else document


def _body(configuration: Configuration) -> dict[str, object]:
    return {
        "targetCondition": configuration.target_condition,
        "priority": configuration.priority,
        "labels": dict(configuration.labels),
        "metrics": {"queries": dict(configuration.metrics)},
    }


def _checked(configuration: Configuration, layered: bool) -> Configuration:
    if configuration.kind is Content.EDGE and is_layer(configuration.sections()) is not layered:
        raise LabError(
            f"the content has the whole of {AGENT_MODULE}: that is no layer, leave --layered away"
            if layered
            else f"the content has not the whole of {AGENT_MODULE}: use --layered to add it to "
            "other deployments"
        )
    return configuration
