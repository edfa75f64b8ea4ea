"""The devices of a fleet, from a pattern, a CSV file or the table in fleet.toml itself.

Each way gives items in the shape of `[[devices.table]]` and where they stand; what is checked
after that is the same for all: the schema of an item, addresses, and that nothing is there twice.
"""

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skerry.config.problems import Finding, Problem
from skerry.config.validate import validate
from skerry.config.words import Schema
from skerry_factory.errors import DefinitionError
from skerry_factory.fleet.model import FleetDevice
from skerry_factory.fleet.table import LABEL, Row, TableError, read_table

CONSEQUENCE = "nothing was stamped"
COLUMNS = ("id", "hostname", "registration_id", "address", "endorsement_key")

Locate = Callable[[Finding], Problem]


@dataclass(frozen=True)
class Item:
    """One device as it was written; `place` gives the problem of a finding in it."""

    values: Mapping[str, Any]
    place: Locate


def list_devices(
    tables: Mapping[str, Any], folder: Path, schema: Schema, locate: Locate
) -> tuple[FleetDevice, ...]:
    """Return the devices of a fleet whose file fits the schema; paths are relative to `folder`.

    Raises: DefinitionError.
    """
    devices = tables["devices"]
    if "pattern" in devices:
        items = list(_by_pattern(devices, tables.get("network", {}), locate))
    elif "csv" in devices:
        items = list(_by_csv(folder / devices["csv"]))
    else:
        items = list(_by_table(devices["table"], locate))
    item_schema: Schema = {
        **schema["properties"]["devices"]["properties"]["table"]["items"],
        "$defs": schema["$defs"],
    }
    problems = [item.place(found) for item in items for found in _findings(item, item_schema)]
    # what a pattern makes is wrong in one way
    stop_at(problems[:1] if "pattern" in devices else problems)
    stop_at(_duplicates(items))
    return tuple(_typed(item.values) for item in items)


def stop_at(problems: list[Problem]) -> None:
    """Raise the problems, sorted by place, if there are any."""
    if problems:
        problems = sorted(problems, key=lambda p: (p.file, p.line, p.column))
        raise DefinitionError([str(problem) for problem in problems], CONSEQUENCE)


def is_interface(text: str) -> bool:
    """Tell whether a text is an IP address with its prefix."""
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return "/" in text


def _by_pattern(
    devices: Mapping[str, Any], network: Mapping[str, Any], locate: Locate
) -> Iterator[Item]:
    first, start = devices.get("first", 1), network.get("first_address")
    place = locate(Finding(("devices", "pattern"), ""))
    last = devices["count"] - 1
    if start is not None and not _has_room(start, last):
        message = f"{start!r} is in a network that has no addresses for {last + 1} devices"
        stop_at([locate(Finding(("network", "first_address"), message, "a larger network"))])
    for index in range(last + 1):
        name = devices["pattern"].format(n=first + index)
        values = {"id": name}
        if "domain" in devices:
            values["hostname"] = f"{name}.{devices['domain']}"
        if start is not None:
            interface = ipaddress.ip_interface(start)
            values["address"] = f"{interface.ip + index}/{interface.network.prefixlen}"
        yield Item(values, lambda finding: _worded(place, finding))


def _has_room(start: str, last: int) -> bool:
    interface = ipaddress.ip_interface(start)
    return int(interface.ip) + last < int(interface.network.broadcast_address)


def _by_table(table: list[dict[str, Any]], locate: Locate) -> Iterator[Item]:
    for index, values in enumerate(table):
        yield Item(values, _in_table(index, locate))


def _in_table(index: int, locate: Locate) -> Locate:
    path = ("devices", "table", index)
    return lambda finding: locate(replace(finding, path=(*path, *finding.path)))


def _by_csv(file: Path) -> Iterator[Item]:
    try:
        rows = read_table(file, COLUMNS, ["id"])
    except TableError as error:
        raise DefinitionError([str(p) for p in error.problems], CONSEQUENCE) from error
    if not rows:
        stop_at([Problem(str(file), 2, 1, "", "no devices", "a row for each device")])
    for row in rows:
        labels = {n.removeprefix(LABEL): t for n, t in row.cells.items() if n.startswith(LABEL)}
        values: dict[str, Any] = {n: t for n, t in row.cells.items() if not n.startswith(LABEL)}
        yield Item(values | ({"labels": labels} if labels else {}), _in_row(file, row))


def _in_row(file: Path, row: Row) -> Locate:
    def located(finding: Finding) -> Problem:
        column = ".".join(map(str, finding.path)).replace("labels.", LABEL)
        place = Problem(str(file), row.line, row.places.get(column, 1), column, "")
        return _worded(place, finding)

    return located


def _worded(place: Problem, finding: Finding) -> Problem:
    return replace(
        place,
        message=finding.message,
        expected=finding.expected,
        suggestion=finding.suggestion,
    )


def _findings(item: Item, schema: Schema) -> Iterator[Finding]:
    findings = validate(dict(item.values), schema).findings
    yield from findings
    address = item.values.get("address")
    if not findings and address is not None and not is_interface(address):
        yield Finding(("address",), f"{address!r} is no address", "such as '10.0.0.7/24'")


def _duplicates(items: list[Item]) -> list[Problem]:
    problems = []
    for what in COLUMNS:
        known: dict[str, Problem] = {}
        for item in items:
            value = _what(item.values, what)
            if not value:
                continue
            if value in known:
                first = known[value]
                message = f"{value[:60]!r} is there twice, first at line {first.line}"
                finding = Finding((what,), message, "one of its own for each device")
                problems.append(item.place(finding))
            known.setdefault(value, item.place(Finding((what,), "")))
    return problems


def _what(values: Mapping[str, Any], what: str) -> str:
    if what == "endorsement_key":
        return str(values.get(what, ""))
    if what == "address":
        return str(ipaddress.ip_interface(values[what]).ip) if what in values else ""
    return str(values.get(what, values["id"])).lower()


def _typed(values: Mapping[str, Any]) -> FleetDevice:
    name, address = values["id"], values.get("address")
    return FleetDevice(
        id=name,
        hostname=values.get("hostname", name),
        registration_id=values.get("registration_id", name),
        address=None if address is None else ipaddress.ip_interface(address),
        endorsement_key=values.get("endorsement_key", ""),
        labels=values.get("labels", {}),
    )
