"""The typed configuration: complete, with every default filled in, and nothing left to look up.

Secrets are `Secret`, which prints as three stars. Spelling of choices is that of config.toml.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from skerry.base.log import Secret


class ReprovisioningMode(StrEnum):
    """When edged asks to be provisioned again."""

    DYNAMIC = "Dynamic"
    ALWAYS_ON_STARTUP = "AlwaysOnStartup"
    ON_ERROR_ONLY = "OnErrorOnly"


class IssuanceMethod(StrEnum):
    """Who signs a certificate."""

    EST = "est"
    LOCAL_CA = "local_ca"
    SELF_SIGNED = "self_signed"


class ModuleStatus(StrEnum):
    """What a module shall do."""

    RUNNING = "running"
    STOPPED = "stopped"


class RestartPolicy(StrEnum):
    """When a module that ended is started again."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ON_UNHEALTHY = "on-unhealthy"
    ALWAYS = "always"


class PullPolicy(StrEnum):
    """Whether an image may be fetched from its registry."""

    ON_CREATE = "on-create"
    NEVER = "never"


@dataclass(frozen=True)
class AutoRenew:
    """When a certificate is renewed; times as written (`80%`, `30day`)."""

    rotate_key: bool = True
    threshold: str = "80%"
    retry: str = "4%"


@dataclass(frozen=True)
class EstAuth:
    """How certd proves itself to an EST server; URIs of files and keys."""

    username: str | None = None
    password: Secret | None = None
    identity_cert: str | None = None
    identity_pk: str | None = None
    bootstrap_identity_cert: str | None = None
    bootstrap_identity_pk: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Issuance:
    """How a certificate is made. `auto_renew` None means: as the place of use defaults."""

    method: IssuanceMethod
    common_name: str | None = None
    subject: Mapping[str, str] | None = None
    expiry_days: int | None = None
    auto_renew: AutoRenew | None = None
    url: str | None = None
    auth: EstAuth | None = None


@dataclass(frozen=True)
class Preloaded:
    """A certificate and key that are there already."""

    cert: str
    pk: str


@dataclass(frozen=True)
class Quickstart:
    """A self-signed edge CA, as upstream makes one when nothing is said."""

    expiry_days: int = 90
    auto_renew: AutoRenew = AutoRenew()
    common_name: str | None = None
    subject: Mapping[str, str] | None = None


@dataclass(frozen=True)
class SymmetricKey:
    """A shared key: its bytes, or the URI where it is."""

    value: bytes | None = field(default=None, repr=False)
    uri: str | None = None


Identity = Preloaded | Issuance


@dataclass(frozen=True)
class Standalone:
    """The device provisions itself; None means its host name."""

    device_id: str | None = None


@dataclass(frozen=True)
class Manual:
    """The device is registered with a hub under a name and key or certificate that are given."""

    iothub_hostname: str
    device_id: str
    authentication: SymmetricKey | Identity


@dataclass(frozen=True)
class TpmAttestation:
    """The device proves itself with the key of its TPM."""

    registration_id: str


@dataclass(frozen=True)
class SymmetricKeyAttestation:
    """The device proves itself with a shared key."""

    registration_id: str
    key: SymmetricKey


@dataclass(frozen=True)
class X509Attestation:
    """The device proves itself with a certificate; None means the name in that certificate."""

    registration_id: str | None
    identity: Identity


@dataclass(frozen=True)
class Dps:
    """The provisioning service tells the device its hub and name."""

    global_endpoint: str
    id_scope: str
    attestation: SymmetricKeyAttestation | X509Attestation | TpmAttestation
    payload_uri: str | None = None


@dataclass(frozen=True)
class Unprovisioned:
    """Local identities only."""


Provisioning = Standalone | Manual | Dps | Unprovisioned


@dataclass(frozen=True)
class Est:
    """EST servers; `urls` by certificate id, "default" for all others."""

    trusted_certs: tuple[str, ...] = ()
    auth: EstAuth | None = None
    identity_auto_renew: AutoRenew = AutoRenew()
    urls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tpm:
    """How tpmd reaches the TPM."""

    tcti: str = "device"
    auth_key_index: int = 0x100
    endorsement: Secret | None = None
    owner: Secret | None = None


@dataclass(frozen=True)
class RegistryAuth:
    """Credentials for the registry of one image."""

    serveraddress: str | None = None
    username: str | None = None
    password: Secret | None = None
    email: str | None = None


@dataclass(frozen=True)
class Agent:
    """The edge agent's container."""

    name: str
    type: str
    image: str
    pull_policy: PullPolicy
    image_hash: str | None = None
    digest: str | None = None
    create_options: Mapping[str, object] = field(default_factory=dict)
    auth: RegistryAuth = RegistryAuth()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Uris:
    """Addresses of the workload and the management API."""

    workload: str
    management: str


@dataclass(frozen=True)
class GarbageCollection:
    """When unused images are removed; durations as written."""

    enabled: bool = True
    cleanup_recurrence: str = "1d"
    image_age_cleanup_threshold: str = "7d"
    cleanup_time: str = "00:00"


@dataclass(frozen=True)
class Moby:
    """The container engine; `network` as in config.toml: a name, or a table that begins with it."""

    uri: str = "unix:///var/run/docker.sock"
    network: str | Mapping[str, object] = "azure-iot-edge"
    content_trust: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MaxRequests:
    """Requests at once, per user and socket."""

    keyd: int = 10
    certd: int = 10
    tpmd: int = 10
    identityd: int = 10
    management: int = 50
    workload: int = 10


@dataclass(frozen=True)
class Module:
    """One workload of the deployment; None where the deployment shall not say."""

    name: str
    image: str
    status: ModuleStatus = ModuleStatus.RUNNING
    restart_policy: RestartPolicy = RestartPolicy.ALWAYS
    pull_policy: PullPolicy = PullPolicy.ON_CREATE
    startup_order: int | None = None
    depends_on: tuple[str, ...] = ()
    create_options: Mapping[str, object] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    auth: RegistryAuth | None = None
    readiness: Mapping[str, object] | None = None
    secrets: tuple[str, ...] = ()
    signatures: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class Hub:
    """The edge hub's part of the deployment; without an image there is none on the device."""

    image: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    create_options: Mapping[str, object] = field(default_factory=dict)
    routes: Mapping[str, object] = field(default_factory=dict)
    time_to_live_seconds: int = 7200
    max_bytes: int | None = None
    when_full: str | None = None
    leaf_devices: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """Everything that config.toml says."""

    provisioning: Provisioning
    edge_ca: Issuance | Preloaded | Quickstart
    agent: Agent
    connect: Uris
    listen: Uris
    hostname: str | None = None
    parent_hostname: str | None = None
    trust_bundle_cert: str | None = None
    manifest_trust_bundle_cert: str | None = None
    allow_elevated_docker_permissions: bool = True
    auto_reprovisioning_mode: ReprovisioningMode = ReprovisioningMode.DYNAMIC
    imported_master_encryption_key: str | None = None
    additional_info: str | None = None
    max_requests: MaxRequests = MaxRequests()
    prefer_module_identity_cache: bool = False
    cloud_timeout_seconds: int = 70
    cloud_retries: int = 1
    local_id_domain: str | None = None
    aziot_keys: Mapping[str, str] = field(default_factory=dict)
    preloaded_keys: Mapping[str, str] = field(default_factory=dict)
    preloaded_certs: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    est: Est | None = None
    local_ca: Preloaded | Issuance | None = None
    tpm: Tpm = Tpm()
    watchdog_max_retries: int | None = None  # None: without end
    garbage_collection: GarbageCollection = GarbageCollection()
    moby: Moby = Moby()
    trial_seconds: int | None = None  # None: the agent's default
    modules: tuple[Module, ...] = ()
    hub: Hub | None = None
    seals_by_tpm: bool = False
    image_trust: tuple[Mapping[str, object], ...] = ()
