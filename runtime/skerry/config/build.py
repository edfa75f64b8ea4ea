"""Turns tables that fit the schema and the rules into the typed configuration, defaults and all."""

from collections.abc import Mapping
from typing import Any

from skerry.base.log import Secret
from skerry.config import model
from skerry.config.connection import decode_key, parse_connection_string

Table = Mapping[str, Any]

OWN_IMAGES = "localhost/skerry/"
DEFAULT_CONNECT = model.Uris("unix:///run/skerry/workload.sock", "unix:///run/skerry/mgmt.sock")
DEFAULT_LISTEN = model.Uris("fd://skerry-edged-workload.socket", "fd://skerry-edged-mgmt.socket")
_UPSTREAM_URIS = {
    "unix:///var/run/iotedge/workload.sock": DEFAULT_CONNECT.workload,
    "unix:///var/run/iotedge/mgmt.sock": DEFAULT_CONNECT.management,
    "fd://aziot-edged.workload.socket": DEFAULT_LISTEN.workload,
    "fd://aziot-edged.mgmt.socket": DEFAULT_LISTEN.management,
}
_HUB_OPTIONS = {
    "HostConfig": {
        "PortBindings": {f"{port}/tcp": [{"HostPort": str(port)}] for port in (8883, 443)}
    }
}
"""What clients of the hub dial; its volume the agent adds."""

_EST_AUTH = (
    "username",
    "identity_cert",
    "identity_pk",
    "bootstrap_identity_cert",
    "bootstrap_identity_pk",
    "headers",
)


def build(tables: Table, version: str) -> model.Config:
    """Return the configuration; `version` is that of the default agent image."""
    watchdog = tables.get("watchdog", {}).get("max_retries", "infinite")
    return model.Config(
        provisioning=_provisioning(tables["provisioning"]),
        edge_ca=_edge_ca(tables.get("edge_ca")),
        agent=_agent(tables.get("agent"), version),
        connect=_uris(tables.get("connect"), DEFAULT_CONNECT),
        listen=_uris(tables.get("listen"), DEFAULT_LISTEN),
        hostname=tables.get("hostname"),
        parent_hostname=tables.get("parent_hostname", tables.get("local_gateway_hostname")),
        trust_bundle_cert=tables.get("trust_bundle_cert"),
        manifest_trust_bundle_cert=tables.get("manifest_trust_bundle_cert"),
        allow_elevated_docker_permissions=tables.get("allow_elevated_docker_permissions", True),
        auto_reprovisioning_mode=model.ReprovisioningMode(
            tables.get("auto_reprovisioning_mode", "Dynamic")
        ),
        imported_master_encryption_key=tables.get("imported_master_encryption_key"),
        additional_info=tables.get("additional_info"),
        max_requests=model.MaxRequests(
            **tables.get("aziot_max_requests", {}), **tables.get("iotedge_max_requests", {})
        ),
        prefer_module_identity_cache=tables.get("prefer_module_identity_cache", False),
        cloud_timeout_seconds=tables.get("cloud_timeout_sec", 70),
        cloud_retries=tables.get("cloud_retries", 1),
        local_id_domain=tables.get("localid", {}).get("domain"),
        trial_seconds=tables.get("deployment", {}).get("trial_seconds"),
        aziot_keys=tables.get("aziot_keys", {}),
        preloaded_keys=tables.get("preloaded_keys", {}),
        preloaded_certs=_preloaded_certs(tables.get("preloaded_certs", {})),
        est=_est(tables.get("cert_issuance", {}).get("est")),
        local_ca=_local_ca(tables.get("cert_issuance", {}).get("local_ca")),
        tpm=_tpm(tables.get("tpm", {})),
        watchdog_max_retries=watchdog if isinstance(watchdog, int) else None,
        garbage_collection=model.GarbageCollection(**tables.get("image_garbage_collection", {})),
        moby=_moby(tables.get("moby_runtime", {})),
        modules=tuple(_module(name, table) for name, table in tables.get("modules", {}).items()),
        hub=_hub(tables["hub"], version) if "hub" in tables else None,
        image_trust=tuple(tables.get("image_trust", ())),
        seals_by_tpm=any(
            secret.get("sealed_by") == "tpm" for secret in tables.get("secrets", {}).values()
        ),
    )


def _provisioning(table: Table) -> model.Provisioning:
    if table["source"] == "standalone":
        return model.Standalone(table.get("device_id"))
    if table["source"] == "none":
        return model.Unprovisioned()
    if table["source"] == "dps":
        return model.Dps(
            global_endpoint=table["global_endpoint"],
            id_scope=table["id_scope"],
            attestation=_attestation(table["attestation"]),
            payload_uri=table.get("payload", {}).get("uri"),
        )
    if "connection_string" in table:
        parsed = parse_connection_string(table["connection_string"])
        key = model.SymmetricKey(parsed.key)
        return model.Manual(parsed.iothub_hostname, parsed.device_id, key)
    authentication = table["authentication"]
    return model.Manual(
        iothub_hostname=table["iothub_hostname"],
        device_id=table["device_id"],
        authentication=_symmetric_key(authentication["device_id_pk"])
        if authentication["method"] == "sas"
        else _identity(authentication),
    )


def _attestation(
    table: Table,
) -> model.SymmetricKeyAttestation | model.X509Attestation | model.TpmAttestation:
    if table["method"] == "tpm":
        return model.TpmAttestation(table["registration_id"])
    if table["method"] == "symmetric_key":
        key = _symmetric_key(table["symmetric_key"])
        return model.SymmetricKeyAttestation(table["registration_id"], key)
    return model.X509Attestation(table.get("registration_id"), _identity(table))


def _symmetric_key(table: Table) -> model.SymmetricKey:
    if "uri" in table:
        return model.SymmetricKey(uri=table["uri"])
    return model.SymmetricKey(value=decode_key(table["value"]))


def _identity(table: Table) -> model.Identity:
    cert = table["identity_cert"]
    if isinstance(cert, str):
        return model.Preloaded(cert, table["identity_pk"])
    return _issuance(cert)


def _issuance(table: Table) -> model.Issuance:
    return model.Issuance(
        method=model.IssuanceMethod(table["method"]),
        common_name=table.get("common_name"),
        subject=table.get("subject"),
        expiry_days=table.get("expiry_days"),
        auto_renew=_auto_renew(table.get("auto_renew")),
        url=table.get("url"),
        auth=_est_auth(table),
    )


def _auto_renew(table: Table | None) -> model.AutoRenew | None:
    return None if table is None else model.AutoRenew(**table)


def _est_auth(table: Table) -> model.EstAuth | None:
    given = {name: table[name] for name in _EST_AUTH if name in table}
    password = _secret(table.get("password"))
    return model.EstAuth(**given, password=password) if given else None


def _secret(text: str | None) -> Secret | None:
    return Secret(text) if text else None


def _edge_ca(table: Table | None) -> model.Issuance | model.Preloaded | model.Quickstart:
    if table is None:
        return model.Quickstart()
    if "method" in table:
        return _issuance(table)
    if "cert" in table:
        return model.Preloaded(table["cert"], table["pk"])
    return model.Quickstart(
        expiry_days=table["auto_generated_edge_ca_expiry_days"],
        auto_renew=_auto_renew(table.get("auto_renew")) or model.AutoRenew(),
        common_name=table.get("common_name"),
        subject=table.get("subject"),
    )


def _est(table: Table | None) -> model.Est | None:
    if table is None:
        return None
    return model.Est(
        trusted_certs=tuple(table.get("trusted_certs", ())),
        auth=_est_auth(table.get("auth", {})),
        identity_auto_renew=_auto_renew(table.get("identity_auto_renew")) or model.AutoRenew(),
        urls=table.get("urls", {}),
    )


def _local_ca(table: Table | None) -> model.Preloaded | model.Issuance | None:
    if table is None:
        return None
    if isinstance(table["cert"], str):
        return model.Preloaded(table["cert"], table["pk"])
    return _issuance(table["cert"])


def _preloaded_certs(table: Table) -> dict[str, str | tuple[str, ...]]:
    return {
        name: value if isinstance(value, str) else tuple(value) for name, value in table.items()
    }


def _tpm(table: Table) -> model.Tpm:
    authorization = table.get("hierarchy_authorization", {})
    return model.Tpm(
        tcti=table.get("tcti", "device"),
        auth_key_index=table.get("auth_key_index", 0x100),
        endorsement=_secret(authorization.get("endorsement")),
        owner=_secret(authorization.get("owner")),
    )


def _registry_auth(table: Table) -> model.RegistryAuth:
    return model.RegistryAuth(**{**table, "password": _secret(table.get("password"))})


def _pull_policy(table: Table, image: str) -> model.PullPolicy:
    # no registry can answer for an image of ours, so asking one is never right
    default = "never" if image.startswith(OWN_IMAGES) else "on-create"
    return model.PullPolicy(table.get("imagePullPolicy", default))


def _agent(table: Table | None, version: str) -> model.Agent:
    if table is None:
        image = f"{OWN_IMAGES}agent:{version}"
        return model.Agent("edgeAgent", "docker", image, _pull_policy({}, image))
    config = table["config"]
    return model.Agent(
        name=table["name"],
        type=table["type"],
        image=config["image"],
        pull_policy=_pull_policy(table, config["image"]),
        image_hash=config.get("imageHash"),
        digest=config.get("digest"),
        create_options=config.get("createOptions", {}),
        auth=_registry_auth(config.get("auth", {})),
        env=table.get("env", {}),
    )


def _uris(table: Table | None, default: model.Uris) -> model.Uris:
    if table is None:
        return default
    workload: str = table["workload_uri"]
    management: str = table["management_uri"]
    return model.Uris(
        _UPSTREAM_URIS.get(workload, workload), _UPSTREAM_URIS.get(management, management)
    )


def _moby(table: Table) -> model.Moby:
    return model.Moby(
        uri=table.get("uri", "unix:///var/run/docker.sock"),
        network=table.get("network", "azure-iot-edge"),
        content_trust=table.get("content_trust", {}).get("ca_certs", {}),
    )


def _module(name: str, table: Table) -> model.Module:
    return model.Module(
        name=name,
        image=table["image"],
        status=model.ModuleStatus(table.get("status", "running")),
        restart_policy=model.RestartPolicy(table.get("restartPolicy", "always")),
        pull_policy=_pull_policy(table, table["image"]),
        startup_order=table.get("startupOrder"),
        depends_on=tuple(table.get("dependsOn", ())),
        create_options=table.get("createOptions", {}),
        env=table.get("env", {}),
        auth=_registry_auth(table["auth"]) if "auth" in table else None,
        readiness=table.get("readiness"),
        secrets=tuple(table.get("secrets", ())),
        signatures=tuple(table.get("signatures", ())),
    )


def _hub(table: Table, version: str) -> model.Hub:
    store = table.get("storeAndForward", {})
    return model.Hub(
        image=table.get("image", f"{OWN_IMAGES}hub:{version}"),
        env=table.get("env", {}),
        create_options=table.get("createOptions", _HUB_OPTIONS),
        routes=table.get("routes", {}),
        time_to_live_seconds=store.get("timeToLiveSecs", 7200),
        max_bytes=_size(store["maxBytes"]) if "maxBytes" in store else None,
        when_full=store.get("whenFull"),
        leaf_devices=table.get("leaf_devices", {}),
    )


def _size(value: int | str) -> int:
    """Return bytes; kB, MB are powers of 1000, KiB, MiB of 1024."""
    if isinstance(value, int):
        return value
    digits = value.rstrip(" KMGTiB")
    unit = value.removeprefix(digits).strip()
    power = " KMGT".index(unit[0]) if unit else 0
    factor: int = (1024 if "i" in unit else 1000) ** power
    return int(digits) * factor
