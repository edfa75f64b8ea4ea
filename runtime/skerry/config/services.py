"""The settings of each service, in upstream's schema.

What is at its default is left out where upstream does so: a new default then changes no file.
"""

import tomllib
from urllib.parse import unquote

from skerry.config.ledger import Ledger, subject_of
from skerry.config.model import AutoRenew, Config, Est, GarbageCollection, MaxRequests, Preloaded
from skerry.config.site import Site

EDGE_CA = "aziot-edged-ca"
LOCAL_CA = "local-ca"
TRUST_BUNDLE = "aziot-edged-trust-bundle"
MANIFEST_TRUST_BUNDLE = "aziot-edged-manifest-trust-bundle"
USER_TRUST_BUNDLE = "trust-bundle-user"

Table = dict[str, object]


def keyd(config: Config, ledger: Ledger, site: Site) -> Table:
    return {
        **_max_requests(config.max_requests.keyd),
        "aziot_keys": {**config.aziot_keys, "homedir_path": f"{site.state}/keyd"},
        "preloaded_keys": {**config.preloaded_keys, **ledger.preloaded_keys},
        "principal": ledger.key_principals(site.ids),
    }


def certd(config: Config, ledger: Ledger, site: Site) -> Table:
    issuance: Table = {}
    if config.est is not None:
        issuance["est"] = _est(config.est, ledger)
    if config.local_ca is not None:
        issuance["local_ca"] = {"cert": LOCAL_CA, "pk": LOCAL_CA}
        ledger.may_use_key("certd", LOCAL_CA)
        if isinstance(config.local_ca, Preloaded):
            ledger.preload(LOCAL_CA, config.local_ca)
        else:
            ledger.issue(LOCAL_CA, config.local_ca, subject_of(config.local_ca))
            if config.local_ca.auto_renew is not None:
                ledger.issued[LOCAL_CA]["auto_renew"] = dict(vars(config.local_ca.auto_renew))
    trusted = [EDGE_CA]
    if config.trust_bundle_cert is not None:
        ledger.preloaded_certs[USER_TRUST_BUNDLE] = config.trust_bundle_cert
        trusted.append(USER_TRUST_BUNDLE)
    ledger.preloaded_certs[TRUST_BUNDLE] = trusted
    if config.manifest_trust_bundle_cert is not None:
        ledger.preloaded_certs[MANIFEST_TRUST_BUNDLE] = config.manifest_trust_bundle_cert
    for host, uri in config.moby.content_trust.items():
        ledger.preloaded_certs[f"content-trust-{host}"] = uri
    return {
        "homedir_path": f"{site.state}/certd",
        **_max_requests(config.max_requests.certd),
        "cert_issuance": {**issuance, **ledger.issued},
        "preloaded_certs": {**config.preloaded_certs, **ledger.preloaded_certs},
        "principal": ledger.cert_principals(site.ids),
    }


def _est(est: Est, ledger: Ledger) -> Table:
    table: Table = {}
    if est.trusted_certs:
        ids = [f"est-server-ca-{number}" for number in range(1, len(est.trusted_certs) + 1)]
        ledger.preloaded_certs |= dict(zip(ids, est.trusted_certs, strict=True))
        table["trusted_certs"] = ids
    if est.auth is not None:
        table |= ledger.est_auth(est.auth, "", est.identity_auto_renew)
    if est.identity_auto_renew != AutoRenew():
        table["identity_auto_renew"] = dict(vars(est.identity_auto_renew))
    if est.urls:
        table["urls"] = dict(est.urls)
    return table


def identityd(config: Config, hostname: str, provisioning: Table, site: Site) -> Table:
    table: Table = {"hostname": hostname, "homedir": f"{site.state}/identityd"}
    if config.cloud_timeout_seconds != Config.cloud_timeout_seconds:
        table["cloud_timeout_sec"] = config.cloud_timeout_seconds
    if config.cloud_retries != Config.cloud_retries:
        table["cloud_retries"] = config.cloud_retries
    table["prefer_module_identity_cache"] = config.prefer_module_identity_cache
    table |= _max_requests(config.max_requests.identityd)
    table["principal"] = [{"uid": site.ids.edged, "name": "aziot-edge"}]
    if config.trust_bundle_cert is not None:
        table["trusted_certs"] = [USER_TRUST_BUNDLE]
    if config.parent_hostname is not None:
        provisioning = {**provisioning, "local_gateway_hostname": config.parent_hostname}
    table["provisioning"] = provisioning
    if config.local_id_domain is not None:
        table["localid"] = {"domain": config.local_id_domain}
    return table


def tpmd(config: Config, site: Site) -> Table:
    table = _max_requests(config.max_requests.tpmd)
    if config.seals_by_tpm:
        table["principal"] = [{"uid": site.ids.identityd}, {"uid": site.ids.edged}]
    tpm = config.tpm
    if tpm.tcti != "device":
        table["tcti"] = tpm.tcti
    if tpm.auth_key_index != type(tpm).auth_key_index:
        table["auth_key_index"] = tpm.auth_key_index
    authorization = {"endorsement": tpm.endorsement, "owner": tpm.owner}
    given = {name: secret.reveal() for name, secret in authorization.items() if secret is not None}
    return {**table, "hierarchy_authorization": given} if given else table


def edged(config: Config, hostname: str, edge_ca: Table, ledger: Ledger, site: Site) -> Table:
    table: Table = {"hostname": hostname, "trust_bundle_cert": TRUST_BUNDLE}
    if config.manifest_trust_bundle_cert is not None:
        table["manifest_trust_bundle_cert"] = MANIFEST_TRUST_BUNDLE
    table |= {
        "auto_reprovisioning_mode": config.auto_reprovisioning_mode.value,
        "homedir": f"{site.state}/edged",
        "allow_elevated_docker_permissions": config.allow_elevated_docker_permissions,
    }
    limits = config.max_requests
    if (limits.management, limits.workload) != (MaxRequests.management, MaxRequests.workload):
        table["iotedge_max_requests"] = {
            "management": limits.management,
            "workload": limits.workload,
        }
    table["edge_ca"] = edge_ca
    table["agent"] = _agent(config)
    table["connect"] = _uris(config.connect.workload, config.connect.management)
    table["listen"] = _uris(config.listen.workload, config.listen.management)
    retries = config.watchdog_max_retries
    table["watchdog"] = {"max_retries": "infinite" if retries is None else retries}
    if config.additional_info is not None:
        content = site.files[unquote(config.additional_info.removeprefix("file://"))]
        table["additional_info"] = tomllib.loads(content.decode())
    if config.garbage_collection != GarbageCollection():
        table["image_garbage_collection"] = dict(vars(config.garbage_collection))
    if config.image_trust:
        table["image_trust"] = [dict(rule) for rule in config.image_trust]
    table["moby_runtime"] = _moby(config)
    return table


def _agent(config: Config) -> Table:
    agent = config.agent
    settings: Table = {"image": agent.image}
    if agent.image_hash is not None:
        settings["imageHash"] = agent.image_hash
    if agent.digest is not None:
        settings["digest"] = agent.digest
    settings["createOptions"] = dict(agent.create_options)
    settings["auth"] = {
        name: str.__str__(value) for name, value in vars(agent.auth).items() if value is not None
    }
    return {
        "name": agent.name,
        "type": agent.type,
        "imagePullPolicy": agent.pull_policy.value,
        "config": settings,
        "env": dict(agent.env),
    }


def _moby(config: Config) -> Table:
    moby = config.moby
    table: Table = {"uri": moby.uri, "network": moby.network}
    if moby.content_trust:
        ids = {host: f"content-trust-{host}" for host in moby.content_trust}
        table["content_trust"] = {"ca_certs": ids}
    return table


def _uris(workload: str, management: str) -> Table:
    return {"workload_uri": workload, "management_uri": management}


def _max_requests(number: int) -> Table:
    return {} if number == MaxRequests.keyd else {"max_requests": number}
