"""Reads fleet.toml, with all that it names, into a `Fleet`.

Every problem of the file, and of the table of devices, is told with its line and column; what is
loaded here can be stamped as it is: files are there, ids, host names, addresses and keys unique.
"""

import ipaddress
import json
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from skerry.config.locate import Locations, locate
from skerry.config.problems import Finding, KeyPath, Problem
from skerry.config.validate import validate
from skerry_factory.definition import size_bytes
from skerry_factory.errors import DefinitionError
from skerry_factory.fleet.devices import CONSEQUENCE, is_interface, list_devices, stop_at
from skerry_factory.fleet.keys import read_keys
from skerry_factory.fleet.model import Fleet, FleetDevice, IdentityPlan, Method, NetworkPlan
from skerry_factory.paths import package_data

KEYS_FILE = "endorsement-keys.csv"

_PATHS = ("group_key", "ca_certificate", "ca_key", "endorsement_keys")


def load_fleet(file: Path) -> Fleet:
    """Load a fleet. Raises: DefinitionError with every problem of the stage it failed in."""
    try:
        text = file.read_bytes().decode("utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise DefinitionError([f"{file}: {error.strerror}"], CONSEQUENCE) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DefinitionError([f"{file}: no TOML: {error}"], CONSEQUENCE) from error
    return _Loader(file, locate(text), tables).load()


class _Loader:
    """One file being read."""

    def __init__(self, file: Path, places: Locations, tables: dict[str, Any]) -> None:
        self._file = file
        self._folder = file.parent
        self._places = places
        self._tables = tables

    def load(self) -> Fleet:
        schema = json.loads(package_data("fleet.schema.json").read_text("utf-8"))
        stop_at([self._located(found) for found in validate(self._tables, schema).findings])
        stop_at([self._located(found) for found in self._beyond_schema()])
        identity = self._identity()
        devices = list_devices(self._tables, self._folder, schema, self._located)
        fleet, network = self._tables["fleet"], self._tables.get("network", {})
        secrets = fleet.get("secrets", {})
        return Fleet(
            file=self._file,
            name=fleet["name"],
            image=fleet["image"],
            config=self._folder / fleet["config"],
            disk_format=fleet.get("format", "qcow2"),
            size_bytes=size_bytes(fleet.get("size", "8GiB")),
            authorized_keys=tuple(self._folder / path for path in fleet.get("authorized_keys", ())),
            secrets={name: self._folder / path for name, path in secrets.items()},
            identity=identity,
            network=NetworkPlan(
                interface=network.get("interface", "en*"),
                gateway=network.get("gateway"),
                dns=tuple(network.get("dns", ())),
            ),
            devices=_with_keys(devices, identity.endorsement_keys),
        )

    def _located(self, finding: Finding) -> Problem:
        return self._places.problem(finding, str(self._file))

    def _beyond_schema(self) -> Iterator[Finding]:
        devices, network = self._tables["devices"], self._tables.get("network", {})
        ways = [key for key in ("pattern", "csv", "table") if key in devices]
        if len(ways) != 1:
            message = f"devices are given by {' and '.join(ways) or 'nothing'}"
            yield Finding(("devices",), message, "one of pattern, csv and table", on_key=True)
        if "pattern" in devices and "count" not in devices:
            yield Finding(("devices", "count"), "missing", "how many devices", on_key=True)
        if "pattern" not in devices:
            for key in ("first", "count", "domain"):
                if key in devices:
                    yield Finding(("devices", key), "only with a pattern", on_key=True)
            if "first_address" in network:
                key_path = ("network", "first_address")
                yield Finding(
                    key_path, "only with a pattern", "address of each device", on_key=True
                )
        yield from self._wrong_addresses()
        yield from self._wrong_group()
        for path, text in self._files():
            if not (self._folder / text).is_file():
                yield Finding(path, f"{text!r}: no such file", "a file, relative to fleet.toml")

    def _wrong_addresses(self) -> Iterator[Finding]:
        network = self._tables.get("network", {})
        given: list[tuple[KeyPath, str]] = [
            (("network", "dns", at), text) for at, text in enumerate(network.get("dns", ()))
        ]
        if "gateway" in network:
            given.append((("network", "gateway"), network["gateway"]))
        for path, text in given:
            if not _is_address(text):
                yield Finding(path, f"{text!r} is no address", "such as '10.0.0.1'")
        first = network.get("first_address")
        if first is not None and not is_interface(first):
            where = ("network", "first_address")
            yield Finding(where, f"{first!r} is no address", "such as '10.0.0.7/24'")

    def _wrong_group(self) -> Iterator[Finding]:
        found = self._tables["identity"].get("attestation", {})
        if found.get("method") != Method.SYMMETRIC_KEY:
            return
        if ("group" in found) != ("group_key" in found):
            missing = "group_key" if "group" in found else "group"
            path = ("identity", "attestation", missing)
            yield Finding(path, "missing", "name and key of a group, or neither", on_key=True)

    def _files(self) -> Iterator[tuple[KeyPath, str]]:
        fleet, devices = self._tables["fleet"], self._tables["devices"]
        yield ("fleet", "config"), fleet["config"]
        for at, text in enumerate(fleet.get("authorized_keys", ())):
            yield ("fleet", "authorized_keys", at), text
        for name, text in fleet.get("secrets", {}).items():
            yield ("fleet", "secrets", name), text
        attestation = self._tables["identity"].get("attestation", {})
        for key in ("group_key", "ca_certificate", "ca_key"):
            if key in attestation:
                yield ("identity", "attestation", key), attestation[key]
        if "csv" in devices:
            yield ("devices", "csv"), devices["csv"]

    def _identity(self) -> IdentityPlan:
        identity = self._tables["identity"]
        if identity["source"] == "standalone":
            return IdentityPlan(Method.STANDALONE)
        found = identity["attestation"]
        files = {key: self._folder / found[key] for key in _PATHS if key in found}
        if found["method"] == Method.TPM:
            files.setdefault("endorsement_keys", self._folder / KEYS_FILE)
        return IdentityPlan(
            method=Method(found["method"]),
            endpoint=identity["global_endpoint"],
            id_scope=identity["id_scope"],
            group=found.get("group"),
            valid_days=found.get("valid_days", 730),
            **files,
        )


def _with_keys(devices: tuple[FleetDevice, ...], file: Path | None) -> tuple[FleetDevice, ...]:
    """Add the endorsement keys that were collected; the file need not be there."""
    keys = {} if file is None else read_keys(file)
    return tuple(
        replace(device, endorsement_key=device.endorsement_key or keys.get(device.id, ""))
        for device in devices
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
