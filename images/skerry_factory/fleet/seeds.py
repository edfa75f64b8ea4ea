"""The seed of each device of a fleet: what all share, and what is its own.

config.toml of a device is that of the fleet with `hostname` before it and `[provisioning]` behind
it. What is wrong with the fleet's own part is told before the first device, at its own lines.
"""

import json
import tomllib
from pathlib import Path

from skerry_factory.errors import DefinitionError
from skerry_factory.fleet.material import Material
from skerry_factory.fleet.model import Fleet, FleetDevice, Method
from skerry_factory.stamp import config_problems, key_problems, keys_file, with_manifest

CERTIFICATE_FILE = "device-id.pem"
KEY_FILE = "device-id.key"
NETWORK_FILE = "network/10-fleet.network"
OWN_KEYS = ("hostname", "provisioning")


class Seeds:
    """Makes the seeds of one fleet."""

    def __init__(self, fleet: Fleet) -> None:
        """Raises: DefinitionError for what is wrong with the files that all devices share."""
        problems = key_problems(fleet.authorized_keys)
        problems += [
            f"{fleet.file}: secret {name!r} is the name of a device's own file; use another"
            for name in fleet.secrets
            if name in (CERTIFICATE_FILE, KEY_FILE)
        ]
        self._fleet = fleet
        self._shared = {f"secrets/{n}": path.read_bytes() for n, path in fleet.secrets.items()}
        self._shared |= keys_file(fleet.authorized_keys)
        self._config = fleet.config.read_bytes()
        problems += _own_keys(fleet.config, self._config) or self._shared_problems()
        if problems:
            raise DefinitionError(problems, "nothing was stamped")

    def files(self, device: FleetDevice, material: Material) -> dict[str, bytes]:
        """Return the files of a device's seed. Raises: DefinitionError, FactoryError."""
        identity = _provisioning(self._fleet, device, material)
        head = f"hostname = {json.dumps(device.hostname)}\n".encode()
        files = {**self._shared, "config.toml": head + self._config + identity}
        if material.chain:
            files[f"secrets/{CERTIFICATE_FILE}"] = material.chain.encode()
            files[f"secrets/{KEY_FILE}"] = material.key.encode()
        if device.address is not None:
            files[NETWORK_FILE] = _network(self._fleet, device)
        problems = config_problems(files, f"config.toml of {device.id}")
        if problems:
            raise DefinitionError(problems, "nothing was stamped")
        return with_manifest(device.id, files)

    def _shared_problems(self) -> list[str]:
        """Say what is wrong with the fleet's config.toml, at the lines of that file."""
        own = dict.fromkeys((f"secrets/{CERTIFICATE_FILE}", f"secrets/{KEY_FILE}"), b"")
        identity = _provisioning(self._fleet, self._fleet.devices[0], Material(key="AAAA"))
        files = {**self._shared, **own, "config.toml": self._config + identity}
        remedy = f"add {{name}} to the secrets in {self._fleet.file}"
        return config_problems(files, str(self._fleet.config), remedy)


def _own_keys(file: Path, data: bytes) -> list[str]:
    """Say which keys of a device the fleet's file has, or that it is no TOML."""
    try:
        tables = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return [f"{file}: no TOML: {error}"]
    return [
        f"{file}: has {key!r}, which fleet.toml gives each device; take it out"
        for key in OWN_KEYS
        if key in tables
    ]


def _provisioning(fleet: Fleet, device: FleetDevice, material: Material) -> bytes:
    plan = fleet.identity
    if plan.method is Method.STANDALONE:
        lines = ["[provisioning]", 'source = "standalone"', f"device_id = {_text(device.id)}"]
        return _lines(lines)
    lines = [
        "[provisioning]",
        'source = "dps"',
        f"global_endpoint = {_text(plan.endpoint)}",
        f"id_scope = {_text(plan.id_scope)}",
        "",
        "[provisioning.attestation]",
        f"method = {_text(plan.method)}",
        f"registration_id = {_text(device.registration_id)}",
    ]
    if plan.method is Method.SYMMETRIC_KEY:
        lines.append(f"symmetric_key = {{ value = {_text(material.key)} }}")
    elif plan.method is Method.X509:
        folder = "file:///run/seed/secrets"
        lines.append(f'identity_cert = "{folder}/{CERTIFICATE_FILE}"')
        lines.append(f'identity_pk = "{folder}/{KEY_FILE}"')
    return _lines(lines)


def _network(fleet: Fleet, device: FleetDevice) -> bytes:
    plan = fleet.network
    lines = ["[Match]", f"Name={plan.interface}", "", "[Network]", f"Address={device.address}"]
    if plan.gateway is not None:
        lines.append(f"Gateway={plan.gateway}")
    lines += [f"DNS={address}" for address in plan.dns]
    return _lines(lines)[1:]


def _text(text: str) -> str:
    """Write a string as TOML would: JSON's escapes are a part of those."""
    return json.dumps(text, ensure_ascii=False)


def _lines(lines: list[str]) -> bytes:
    return ("\n" + "\n".join(lines) + "\n").encode()
