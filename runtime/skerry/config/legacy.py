"""Azure IoT Edge's YAML of version 1.1 and before, translated into the tables of config.toml.

The mapping is upstream's own (azure-iot-edge 1.8), where our keys are the same. Sockets are
Skerry's, so other addresses are named and left out; `external` provisioning has no counterpart.
"""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import yaml

from skerry.config.connection import parse_connection_string
from skerry.config.importing import Imported, Notice, NotImportableError, finish
from skerry.config.problems import key_text
from skerry.config.references import value_at

MASTER_KEY = (
    "/var/lib/iotedge/hsm/enc_keys/"
    "edgelet-masterWt5mT2xpO72EPKlt2Tt0Sq4uJCrMvfl2rzzKRB3pnyo_.enc.key"
)
_DEFAULT_ADDRESSES = (
    "unix:///var/run/iotedge/mgmt.sock", "unix:///var/run/iotedge/workload.sock",
    "fd://iotedge.mgmt.socket", "fd://iotedge.socket",
)  # fmt: skip
_CA_DAYS = 90
_ADDRESS = ("management_uri", "workload_uri")
_KNOWN: dict[tuple[str, ...], tuple[str, ...]] = {
    (): (
        "provisioning", "certificates", "agent", "hostname", "parent_hostname", "connect",
        "listen", "homedir", "moby_runtime", "watchdog",
    ),
    ("provisioning",): (
        "source", "device_connection_string", "authentication", "global_endpoint", "scope_id",
        "attestation", "dynamic_reprovisioning", "always_reprovision_on_startup",
    ),
    ("provisioning", "authentication"): (
        "method", "iothub_hostname", "device_id", "identity_cert", "identity_pk",
    ),
    ("provisioning", "attestation"): (
        "method", "registration_id", "symmetric_key", "identity_cert", "identity_pk",
    ),
    ("certificates",): (
        "device_ca_cert", "device_ca_pk", "trusted_ca_certs", "auto_generated_ca_lifetime_days",
    ),
    ("moby_runtime",): ("uri", "network", "content_trust"),
    ("watchdog",): ("max_retries",),
    ("connect",): _ADDRESS,
    ("listen",): _ADDRESS,
}  # fmt: skip
"""What is looked at, by table; the agent's is judged by our own schema."""

Table = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """Plain data only; an alias could make a small file mean a huge one."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise NotImportableError("the file uses YAML aliases, expected plain values")
        return super().compose_node(parent, index)


def import_yaml(data: bytes, version: str, exists: Callable[[str], bool]) -> Imported:
    """Turn `/etc/iotedge/config.yaml` into ours; `exists` tells whether a file is there."""
    try:
        # S506: the loader is safe, it makes plain data only
        old = yaml.load(data, Loader=_Loader)  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise NotImportableError(f"the file is not YAML: {error}") from error
    if not isinstance(old, dict):
        raise NotImportableError("the file is no YAML mapping")
    old = _plain(old)
    tables: Table = {}
    if isinstance(old.get("hostname"), str):
        tables["hostname"] = old["hostname"].lower()
    if "parent_hostname" in old:
        tables["parent_hostname"] = old["parent_hostname"]
    tables |= _provisioning(_table(old, "provisioning"))
    tables |= _certificates(_table(old, "certificates"))
    if exists(MASTER_KEY):
        tables["imported_master_encryption_key"] = MASTER_KEY
    tables |= _runtime(old)
    return finish(tables, [*_addresses(old), *_unknown(old)], version)


def _provisioning(old: Table) -> Table:
    source = old.get("source", "manual")
    if source == "manual":
        table = _manual(old)
    elif source == "dps":
        table = _dps(old)
    elif source == "external":
        raise NotImportableError("external provisioning is not supported")
    else:
        raise NotImportableError(f"provisioning.source is {source!r}, expected 'manual' or 'dps'")
    mode = "OnErrorOnly"
    if old.get("dynamic_reprovisioning") is True:
        mode = "Dynamic"
    elif source == "dps" and old.get("always_reprovision_on_startup") is True:
        mode = "AlwaysOnStartup"
    return {"auto_reprovisioning_mode": mode, "provisioning": {"source": source, **table}}


def _manual(old: Table) -> Table:
    text = old.get("device_connection_string")
    if text is not None:
        try:
            parse_connection_string(str(text))
        except ValueError as error:
            raise NotImportableError(f"provisioning.device_connection_string: {error}") from error
        return {"connection_string": str(text)}
    authentication = _table(old, "authentication")
    if authentication.get("method") != "x509":
        raise NotImportableError(
            "provisioning has neither device_connection_string nor authentication by x509"
        )
    return {
        "iothub_hostname": _text(authentication, "iothub_hostname"),
        "device_id": _text(authentication, "device_id"),
        "authentication": {"method": "x509", **_pair(authentication)},
    }


def _dps(old: Table) -> Table:
    attestation = _table(old, "attestation")
    method = attestation.get("method", "tpm")
    proof: Table = {"method": method}
    if "registration_id" in attestation:
        proof["registration_id"] = _text(attestation, "registration_id")
    if method == "symmetric_key":
        proof["symmetric_key"] = {"value": _text(attestation, "symmetric_key")}
    elif method == "x509":
        proof |= _pair(attestation)
    return {
        "global_endpoint": _text(old, "global_endpoint"),
        "id_scope": _text(old, "scope_id"),
        "attestation": proof,
    }


def _pair(old: Table) -> Table:
    return {name: _uri(_text(old, name)) for name in ("identity_cert", "identity_pk")}


def _certificates(old: Table) -> Table:
    if "device_ca_cert" in old or "device_ca_pk" in old:
        tables: Table = {
            "edge_ca": {
                "cert": _uri(_text(old, "device_ca_cert")),
                "pk": _uri(_text(old, "device_ca_pk")),
            }
        }
        if "trusted_ca_certs" in old:
            tables["trust_bundle_cert"] = _uri(_text(old, "trusted_ca_certs"))
        return tables
    days = old.get("auto_generated_ca_lifetime_days", _CA_DAYS)
    return {"edge_ca": {"auto_generated_edge_ca_expiry_days": days}} if days != _CA_DAYS else {}


def _runtime(old: Table) -> Table:
    """Copy what says the same in both: agent, engine, watchdog."""
    tables: Table = {}
    agent = _table(old, "agent")
    if agent:
        tables["agent"] = {"name": "edgeAgent", "type": "docker", **agent}
    moby = {
        name: value
        for name, value in _table(old, "moby_runtime").items()
        if name in _KNOWN["moby_runtime",]
    }
    if moby:
        tables["moby_runtime"] = moby
    retries = _table(old, "watchdog").get("max_retries")
    if retries is not None:
        tables["watchdog"] = {"max_retries": retries}
    return tables


def _addresses(old: Table) -> Iterator[Notice]:
    for name in ("connect", "listen"):
        for key, value in _table(old, name).items():
            if value not in _DEFAULT_ADDRESSES:
                message = f"{value!r} is left out: Skerry's services have their own sockets"
                yield Notice(f"{name}.{key}", message)
    if "homedir" in old and old["homedir"] != "/var/lib/iotedge":
        yield Notice("homedir", f"{old['homedir']!r} is left out: state is in /var/lib/skerry")


def _unknown(old: Table) -> Iterator[Notice]:
    for path, known in _KNOWN.items():
        table = value_at(old, path)
        for key in table if isinstance(table, dict) else ():
            if key not in known:
                yield Notice(key_text((*path, key)), "has no counterpart and is left out")


def _plain(value: object) -> Any:
    """Return YAML data without its nulls, which mean "not given"; it becomes TOML."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise NotImportableError("the file has a key that is no text")
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value if item is not None]
    if isinstance(value, str | bool | int | float):
        return value
    raise NotImportableError(
        f"the file has a value of the kind {type(value).__name__}, expected texts and numbers"
    )


def _table(old: Table, name: str) -> Table:
    value = old.get(name)
    if value is not None and not isinstance(value, dict):
        raise NotImportableError(f"{name} is no mapping")
    return value or {}


def _text(old: Table, name: str) -> str:
    value = old.get(name)
    if not isinstance(value, str) or not value:
        raise NotImportableError(f"{name} is missing or no text")
    return value


def _uri(text: str) -> str:
    """Return a path as the file URI that it means; a URI stays as it is."""
    return text if text.startswith("file://") else "file://" + quote(text)
