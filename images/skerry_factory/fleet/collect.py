"""Gathering endorsement keys into a fleet's table, from devices or from sticks that come back.

A device is asked over SSH; a stick has `device.json` in its seed, which the device wrote
(docs/seed.md). What is told is believed only if it names the device that was meant, is the public
area of a TPM's key, and is neither another device's nor another than the table has.
"""

import base64
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skerry.wire.tpm import TpmDataError, parse_public
from skerry_factory.command import run_command
from skerry_factory.errors import FactoryError
from skerry_factory.fleet.keys import read_keys, write_keys
from skerry_factory.fleet.model import Fleet, FleetDevice
from skerry_factory.ssh import ALIAS, Target, shared_connection

DEVICE_FILE = "device.json"
AT_ONCE = 16
ANSWER_SECONDS = 60.0
QUESTION = "hostname; sudo skerry tpm show --output json"


@dataclass(frozen=True)
class Told:
    """What a device says: its name, a host name or a device id, and the base64 of its key."""

    name: str
    endorsement_key: str


@dataclass(frozen=True)
class Collected:
    """The devices whose keys are new in the table, and why the others are not."""

    collected: tuple[str, ...]
    failed: Mapping[str, str]


Ask = Callable[[FleetDevice], Told]
"""Asks one device. Raises: FactoryError."""


def ask_devices(fleet: Fleet, devices: Sequence[FleetDevice], ask: Ask) -> Collected:
    """Ask devices, some at once, and put what they tell into the table. Raises: FactoryError."""
    table = _table(fleet)

    def answer(device: FleetDevice) -> Told | FactoryError:
        try:
            told = ask(device)
        except FactoryError as error:
            return error
        if told.name.lower() not in (device.hostname, device.hostname.partition(".")[0], device.id):
            return FactoryError(f"it says that it is {told.name!r}, expected {device.hostname!r}")
        return replace(told, name=device.id)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(answer, devices))
    failed = {
        device.id: str(told)
        for device, told in zip(devices, answers, strict=True)
        if isinstance(told, FactoryError)
    }
    return _taken(fleet, table, [told for told in answers if isinstance(told, Told)], failed)


def read_sticks(fleet: Fleet, places: Sequence[Path]) -> Collected:
    """Read seeds that came back, mounted, as image files or as disks, into the table.

    Raises: FactoryError.
    """
    table = _table(fleet)
    found: list[Told] = []
    failed: dict[str, str] = {}
    for place in places:
        try:
            found.append(_told(_device_file(place)))
        except FactoryError as error:
            failed[str(place)] = str(error)
    return _taken(fleet, table, found, failed)


def ask_over_ssh(target: Target) -> Told:
    """Ask an appliance that runs. Raises: FactoryError."""
    with (
        tempfile.TemporaryDirectory(prefix="skerry-collect-") as folder,
        shared_connection(target, Path(folder, "ssh_config")) as config,
    ):
        done = _run_ssh(config, target.host)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise FactoryError(f"{target.host}: {said[-1] if said else 'no answer'}")
    name, _, answer = done.stdout.partition("\n")
    return _told(answer.encode(), name.strip())


def _run_ssh(config: Path, host: str) -> subprocess.CompletedProcess[str]:
    command = ["ssh", "-F", str(config), ALIAS, QUESTION]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FactoryError(f"{host}: no answer within {ANSWER_SECONDS:.0f} s") from error


def _device_file(place: Path) -> bytes:
    try:
        if place.is_dir():
            return (place / DEVICE_FILE).read_bytes()
        return run_command(["mtype", "-i", str(place), f"::/{DEVICE_FILE}"]).encode()
    except (OSError, FactoryError) as error:
        raise FactoryError(
            f"{place}: no {DEVICE_FILE}; a device writes it when it has a TPM and is ready"
        ) from error


def _told(data: bytes, name: str = "") -> Told:
    try:
        document: Any = json.loads(data)
        return Told(name or str(document["device"]), str(document["endorsement_key"]))
    except (ValueError, KeyError, TypeError) as error:
        raise FactoryError(f"the answer is not a device's: {data[:60]!r}") from error


def _table(fleet: Fleet) -> Path:
    file = fleet.identity.endorsement_keys
    if file is None:
        raise FactoryError(f"{fleet.file}: its devices are not attested by TPM; nothing to collect")
    return file


def _taken(fleet: Fleet, table: Path, found: Sequence[Told], failed: dict[str, str]) -> Collected:
    """Put keys into the table, those that hold what is asked of them; the others are failed."""
    keys = read_keys(table)
    owners = {device.endorsement_key: device.id for device in fleet.devices}
    owners |= {key: device for device, key in keys.items()}
    known = {device.id: device.endorsement_key for device in fleet.devices}
    collected = []
    for told in found:
        problem = _problem(told, known, owners)
        if problem is not None:
            failed[told.name] = problem
            continue
        if not known[told.name]:
            collected.append(told.name)
        known[told.name] = keys[told.name] = told.endorsement_key
        owners[told.endorsement_key] = told.name
    if collected:
        write_keys(table, keys)
    return Collected(tuple(collected), failed)


def _problem(told: Told, known: Mapping[str, str], owners: Mapping[str, str]) -> str | None:
    if told.name not in known:
        return f"{told.name!r} is no device of this fleet"
    try:
        parse_public(base64.b64decode(told.endorsement_key, validate=True), "the endorsement key")
    except (ValueError, TpmDataError) as error:
        return str(error)
    owner = owners.get(told.endorsement_key, told.name)
    if owner != told.name:
        return f"its endorsement key is that of {owner!r}: the same machine was taken for both"
    if known[told.name] not in ("", told.endorsement_key):
        return "another endorsement key is known; if the machine was replaced, take that one out"
    return None
