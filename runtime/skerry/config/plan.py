"""The plan: from a configuration to the files of every service. No input or output of its own.

Keys and certificates are gathered in a ledger first; keyd and certd are told about them at the end.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from skerry.config import emit, identity, services
from skerry.config.deployment import deployment
from skerry.config.ledger import Ledger, subject_of
from skerry.config.model import (
    AutoRenew,
    Config,
    Issuance,
    IssuanceMethod,
    Preloaded,
    Quickstart,
)
from skerry.config.services import EDGE_CA
from skerry.config.site import SERVICES, Site

HEADER = "# Written by `skerry config apply`; edits are lost when it runs again.\n\n"
MASTER_ENCRYPTION = "iotedge_master_encryption_id"

Table = dict[str, object]


@dataclass(frozen=True)
class PlannedFile:
    """A file to write; no owner means that of apply, which is root."""

    data: bytes
    uid: int | None
    gid: int | None
    mode: int = 0o600


@dataclass(frozen=True)
class Plan:
    """Files of the generation by name, files to place elsewhere by path, files placed before."""

    files: Mapping[str, PlannedFile]
    placed: Mapping[str, PlannedFile]
    needed: tuple[str, ...] = ()


def make_plan(config: Config, site: Site) -> Plan:
    """Plan everything that a configuration means on one device."""
    hostname = config.hostname or site.hostname
    ledger = Ledger()
    provisioned = identity.plan(config, hostname, ledger)
    edge_ca = _edge_ca(config, ledger)
    ledger.may_use_key("edged", EDGE_CA, MASTER_ENCRYPTION)
    ledger.may_change_cert("edged", EDGE_CA, "aziot-edged/module/*")
    _edge_ca_renewal(edge_ca, ledger)
    placed = _place_keys(config, provisioned.key, ledger, site)
    # certd comes before keyd: what it issues needs keys
    tables: dict[str, Table] = {
        "certd": services.certd(config, ledger, site),
        "keyd": services.keyd(config, ledger, site),
        "identityd": services.identityd(config, hostname, provisioned.table, site),
        "tpmd": services.tpmd(config, site),
        "edged": services.edged(config, hostname, edge_ca, ledger, site),
    }
    files = {
        f"{name}.toml": PlannedFile(
            (HEADER + emit.dump(tables[name])).encode(), site.ids.of(name), site.ids.of(name)
        )
        for name in SERVICES
    }
    wanted = deployment(config)
    if wanted is not None:
        text = json.dumps(wanted, indent=1, ensure_ascii=False) + "\n"
        files["deployment.json"] = PlannedFile(text.encode(), None, site.ids.edged, 0o640)
    if config.hub is not None and config.hub.leaf_devices:
        # the hub gets it from edged; it is no part of the deployment, which others see too
        text = json.dumps(config.hub.leaf_devices, indent=1, ensure_ascii=False) + "\n"
        files["leaf_devices.json"] = PlannedFile(text.encode(), None, site.ids.edged, 0o640)
    return Plan(files, placed)


def imported_path(site: Site, service: str, name: str, data: bytes) -> str:
    """Return where a key or certificate goes that arrives with the configuration.

    The name holds a digest of the content: another content never replaces a file that the former
    generation still needs.
    """
    return f"{site.state}/{service}/imported/{name}-{hashlib.sha256(data).hexdigest()[:16]}"


def _place_keys(
    config: Config, device_key: bytes | None, ledger: Ledger, site: Site
) -> dict[str, PlannedFile]:
    keys = {} if device_key is None else {identity.DEVICE_ID: device_key}
    if config.imported_master_encryption_key is not None:
        keys[MASTER_ENCRYPTION] = site.files[config.imported_master_encryption_key]
    placed = {}
    for name, data in keys.items():
        path = imported_path(site, "keyd", name, data)
        placed[path] = PlannedFile(data, site.ids.keyd, site.ids.keyd)
        ledger.preloaded_keys[name] = f"file://{path}"
    return placed


def _edge_ca(config: Config, ledger: Ledger) -> Table:
    """Plan the edge CA and return edged's table about it."""
    ca = config.edge_ca
    ids: Table = {"cert": EDGE_CA, "key": EDGE_CA}
    if isinstance(ca, Preloaded):
        ledger.preload(EDGE_CA, ca)
        return ids
    if isinstance(ca, Quickstart):
        quick = Issuance(IssuanceMethod.SELF_SIGNED, ca.common_name, ca.subject, ca.expiry_days)
        ledger.issue(EDGE_CA, quick, subject_of(quick))
        return {"auto_renew": _auto_renew(ca.auto_renew)}
    if ca.method is IssuanceMethod.EST:
        # an EST request has no place for a lifetime, and edged itself writes the subject in it
        ledger.issue(EDGE_CA, Issuance(ca.method, url=ca.url, auth=ca.auth), {})
        ids |= subject_of(ca)
    else:
        ledger.issue(EDGE_CA, ca, subject_of(ca))
    ledger.may_use_key("certd", EDGE_CA)
    return {**ids, "auto_renew": _auto_renew(ca.auto_renew or AutoRenew())}


def _edge_ca_renewal(edge_ca: Table, ledger: Ledger) -> None:
    renew = edge_ca.get("auto_renew")
    if isinstance(renew, dict):
        ledger.issue_again(EDGE_CA, renew["rotate_key"])
        ledger.may_change_cert("edged", f"{EDGE_CA}-temp")
        if renew["rotate_key"]:
            ledger.may_use_key("edged", f"{EDGE_CA}-temp")


def _auto_renew(renew: AutoRenew) -> Table:
    return dict(vars(renew))
