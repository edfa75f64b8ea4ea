"""How the device gets its identity: identityd's settings, and what they need of keyd and certd."""

from dataclasses import dataclass

from skerry.config.ledger import Ledger, subject_of
from skerry.config.model import (
    AutoRenew,
    Config,
    Dps,
    Identity,
    Issuance,
    IssuanceMethod,
    Manual,
    Preloaded,
    Standalone,
    SymmetricKey,
    SymmetricKeyAttestation,
    TpmAttestation,
    X509Attestation,
)

DEVICE_ID = "device-id"
MASTER_ID = "aziot_identityd_master_id"
STANDALONE_DAYS = 365

Table = dict[str, object]


@dataclass(frozen=True)
class Provisioned:
    """identityd's [provisioning] table, and the device key where the configuration holds it."""

    table: Table
    key: bytes | None = None


def plan(config: Config, hostname: str, ledger: Ledger) -> Provisioned:
    """Plan the device identity; rights and certificates go into the ledger."""
    ledger.may_use_key("identityd", MASTER_ID)
    provisioning = config.provisioning
    if isinstance(provisioning, Standalone):
        return Provisioned(_standalone(provisioning, hostname, ledger))
    if isinstance(provisioning, Manual):
        return _manual(provisioning, ledger)
    if isinstance(provisioning, Dps):
        return _dps(provisioning, ledger)
    return Provisioned({"source": "none"})


def _standalone(provisioning: Standalone, hostname: str, ledger: Ledger) -> Table:
    device_id = provisioning.device_id or hostname
    made = Issuance(IssuanceMethod.SELF_SIGNED, expiry_days=STANDALONE_DAYS, auto_renew=AutoRenew())
    return {
        "source": "standalone",
        "iothub_hostname": hostname,
        "device_id": device_id,
        "authentication": {"method": "x509", **_identity(made, device_id, ledger)},
    }


def _manual(provisioning: Manual, ledger: Ledger) -> Provisioned:
    authentication = provisioning.authentication
    key = None
    if isinstance(authentication, SymmetricKey):
        key = _symmetric_key(authentication, ledger)
        proof: Table = {"method": "sas", "device_id_pk": DEVICE_ID}
    else:
        proof = {
            "method": "x509",
            **_identity(authentication, provisioning.device_id, ledger),
        }
    table: Table = {
        "source": "manual",
        "iothub_hostname": provisioning.iothub_hostname,
        "device_id": provisioning.device_id,
        "authentication": proof,
    }
    return Provisioned(table, key)


def _dps(provisioning: Dps, ledger: Ledger) -> Provisioned:
    attestation = provisioning.attestation
    key = None
    proof: Table
    if isinstance(attestation, TpmAttestation):
        proof = {"method": "tpm", "registration_id": attestation.registration_id}
    elif isinstance(attestation, SymmetricKeyAttestation):
        key = _symmetric_key(attestation.key, ledger)
        proof = {
            "method": "symmetric_key",
            "registration_id": attestation.registration_id,
            "symmetric_key": DEVICE_ID,
        }
    else:
        proof = _x509(attestation, ledger)
    table: Table = {
        "source": "dps",
        "global_endpoint": provisioning.global_endpoint,
        "scope_id": provisioning.id_scope,
        "attestation": proof,
    }
    if provisioning.payload_uri is not None:
        table["payload"] = {"uri": provisioning.payload_uri}
    return Provisioned(table, key)


def _x509(attestation: X509Attestation, ledger: Ledger) -> Table:
    table: Table = {"method": "x509"}
    if attestation.registration_id is not None:
        table["registration_id"] = attestation.registration_id
    return {**table, **_identity(attestation.identity, attestation.registration_id, ledger)}


def _symmetric_key(key: SymmetricKey, ledger: Ledger) -> bytes | None:
    """Let identityd use the device key; return its bytes if they have yet to be put in a file."""
    ledger.may_use_key("identityd", DEVICE_ID)
    if key.uri is not None:
        ledger.preloaded_keys[DEVICE_ID] = key.uri
    return key.value


def _identity(identity: Identity, name: str | None, ledger: Ledger) -> Table:
    """Plan the device certificate for `name`; return the ids that identityd asks for."""
    ids: Table = {"identity_cert": DEVICE_ID, "identity_pk": DEVICE_ID}
    ledger.may_use_key("identityd", DEVICE_ID)
    if isinstance(identity, Preloaded):
        ledger.preload(DEVICE_ID, identity)
        return ids
    ledger.issue(DEVICE_ID, identity, subject_of(identity, name))
    ledger.may_change_cert("identityd", DEVICE_ID)
    renew = identity.auto_renew
    if renew is not None:
        ledger.issue_again(DEVICE_ID, renew.rotate_key)
        ledger.may_change_cert("identityd", f"{DEVICE_ID}-temp")
        if renew.rotate_key:
            ledger.may_use_key("identityd", f"{DEVICE_ID}-temp")
        ids["identity_auto_renew"] = dict(vars(renew))
    return ids
