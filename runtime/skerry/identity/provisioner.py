"""Who this device is: provisioned when it is first asked for, kept, and provisioned anew on demand.

Invariants
- What was provisioned is in a file and needs no network afterwards; it counts for the settings
  that led to it.
- Provisioning anew replaces the identity only when the new one holds: DPS has assigned the device,
  and the hub has answered to it (or cannot be asked right now).
- A server that asked for time is left alone until then; callers get its reason meanwhile.
"""

import json
import threading
from collections.abc import Callable
from pathlib import Path

from skerry.base.client import ApiError, UnreachableError
from skerry.base.clock import Clock
from skerry.base.files import FileTooLargeError, read_limited
from skerry.base.log import Logger, step
from skerry.identity.certificate import DeviceCertificate
from skerry.identity.hub_modules import HubModules
from skerry.identity.model import Device
from skerry.identity.modules import LocalModules, ModuleKeys, Modules, reconcile
from skerry.identity.proof import DeviceProof, TpmProof
from skerry.identity.settings import Dps, Manual, Settings, Standalone
from skerry.identity.store import DeviceStore
from skerry.keys.client import KeysClient
from skerry.provisioning.cloud import Cloud, Pause
from skerry.provisioning.credential import Credential, X509Credential
from skerry.provisioning.dps import KEY_NAME, Assignment, Registration
from skerry.provisioning.dps import Dps as DpsClient
from skerry.provisioning.errors import CredentialError, LaterError, OfflineError, RefusedError
from skerry.provisioning.hub import HubRegistry

_REGISTER_SECONDS = 50.0
"""Shorter than a caller of identityd waits; the next call goes on where this one ended."""
_MAX_PAYLOAD_BYTES = 512 * 1024


class Provisioner:
    """The identity of the device; raises ProvisioningError."""

    def __init__(
        self,
        settings: Settings,
        store: DeviceStore,
        keys: KeysClient,
        proof: DeviceProof,
        cloud: Cloud,
        clock: Clock,
        log: Logger,
        pause: Pause,
    ) -> None:
        self._settings = settings
        self._store = store
        self._keys = keys
        self._proof = proof
        self._cloud = cloud
        self._clock = clock
        self._log = log
        self._pause = pause
        self._lock = threading.RLock()
        self._device: Device | None = None
        self._modules: Modules | None = None
        self._dps: tuple[Registration, DpsClient] | None = None
        self._later: tuple[float, LaterError] | None = None

    def device(self) -> Device:
        """Return who the device is, provisioned now if it never was."""
        with self._lock:
            device = self._device or self._store.find(self._settings.fingerprint())
            if device is None:
                device = self._provisioned()
                self._become(device)
            self._device = device
            return device

    def modules(self) -> Modules:
        """Return the device's modules, those of the host made right with the hub."""
        with self._lock:
            modules = self._modules or self._modules_of(self.device())
            self._modules = modules
            self._reconcile(modules)
            return modules

    def proof(self) -> dict[str, object]:
        """Return the `auth` of the device's identity."""
        with self._lock:
            self.device()
            return self._proof.answer()

    def reprovision(self) -> Device:
        """Provision anew; on any failure the device stays what it was."""
        with self._lock:
            device = self._provisioned()
            self._store.forget_reconciled()
            self._become(device)
            return device

    def renew(self, certificate: DeviceCertificate) -> None:
        """Renew the device's certificate; DPS has to accept the new one before it is used."""
        with self._lock:
            staged = certificate.stage()
            source = self._settings.source
            if isinstance(source, Dps):
                shown = X509Credential(self._keys, staged.current)
                device = self._assigned(self._patiently(lambda: self._register(source, shown)))
                certificate.commit(staged)
                self._become(device)
            else:
                certificate.commit(staged)
            # the registry's client holds on to the certificate that it was made with
            self._modules = None

    def _become(self, device: Device) -> None:
        self._store.put(device, self._settings.fingerprint())
        self._device = device
        self._modules = None
        self._log.info(
            "this device has an identity",
            hub=device.hub_name,
            device=device.device_id,
            auth=device.auth.value,
        )

    def _provisioned(self) -> Device:
        match self._settings.source:
            case Standalone(hub_name, device_id):
                return self._assigned(Assignment(hub_name, device_id))
            case Manual(hub_name, device_id):
                with step(self._log, self._clock, "identityd", "hub"):
                    device = self._assigned(Assignment(hub_name, device_id))
                    self._check(device, is_named_by_hand=True)
                return device
            case Dps() as source:
                with step(self._log, self._clock, "identityd", "provisioning"):
                    device = self._assigned(self._patiently(lambda: self._asked(source)))
                    self._check(device, is_named_by_hand=False)
                return device
        self._proof.answer()
        raise CredentialError("a device without a hub has no identity")

    def _check(self, device: Device, *, is_named_by_hand: bool) -> None:
        try:
            self._registry(device).all()
        except OfflineError as error:
            self._log.warning("the hub cannot be asked now", hub=device.hub_name, reason=error)
        except RefusedError as error:
            if is_named_by_hand:
                raise
            # the hub learns of a new device some time after DPS has assigned it
            self._log.warning("the hub does not know this device yet", reason=error)

    def _patiently(self, ask: Callable[[], Assignment]) -> Assignment:
        """Ask unless the server wanted to be left alone until later."""
        if self._later is not None:
            until, error = self._later
            if self._clock.monotonic() < until:
                raise error
            self._later = None
        try:
            return ask()
        except LaterError as error:
            self._later = (self._clock.monotonic() + error.wait_seconds, error)
            raise

    def _asked(self, source: Dps) -> Assignment:
        if isinstance(self._proof, TpmProof):
            return self._register_tpm(source, self._proof)
        audience = f"{source.scope_id}/registrations/{self._registration_id(source)}"
        return self._register(source, self._proof.credential(audience, KEY_NAME))

    def _register_tpm(self, source: Dps, proof: TpmProof) -> Assignment:
        try:
            return self._client(source).register_tpm(proof.tpm, _REGISTER_SECONDS)
        except (ApiError, UnreachableError) as error:
            raise CredentialError(f"the TPM cannot be used: {error}") from error

    def _register(self, source: Dps, credential: Credential) -> Assignment:
        return self._client(source).register(credential, _REGISTER_SECONDS)

    def _client(self, source: Dps) -> DpsClient:
        registration = Registration(
            source.endpoint, source.scope_id, self._registration_id(source), _payload(source)
        )
        if self._dps is None or self._dps[0] != registration:
            client = DpsClient(self._cloud, registration, self._clock, self._pause)
            self._dps = (registration, client)
        return self._dps[1]

    def _registration_id(self, source: Dps) -> str:
        return source.registration_id or self._proof.registration_id()

    def _assigned(self, assignment: Assignment) -> Device:
        gateway = self._settings.parent_hostname or assignment.hub_name
        return Device(assignment.hub_name, gateway, assignment.device_id, self._proof.auth)

    def _registry(self, device: Device) -> HubRegistry:
        credential = self._proof.credential(f"{device.hub_name}/devices/{device.device_id}", None)
        return HubRegistry(self._cloud, device.gateway_host, device.device_id, credential)

    def _modules_of(self, device: Device) -> Modules:
        store = self._store.modules(device)
        if isinstance(self._settings.source, Standalone):
            return LocalModules(store)
        return HubModules(
            store,
            self._registry(device),
            ModuleKeys(self._keys),
            self._clock,
            self._log,
            prefer_cache=self._settings.prefer_module_cache,
        )

    def _reconcile(self, modules: Modules) -> None:
        wanted, before = self._settings.module_names, self._store.reconciled()
        if wanted == before:
            return
        try:
            reconcile(modules, wanted, before)
        except OfflineError as error:
            self._log.warning("the host's modules are made right later", reason=error)
            return
        self._store.put_reconciled(wanted)


def _payload(source: Dps) -> object:
    """Read the payload afresh for each registration: it may name what changes."""
    if source.payload_path is None:
        return None
    try:
        return json.loads(read_limited(Path(source.payload_path), _MAX_PAYLOAD_BYTES))
    except (OSError, ValueError, RecursionError, FileTooLargeError) as error:
        raise CredentialError(
            f"provisioning.payload {source.payload_path!r} cannot be used: {error}; expected JSON"
        ) from error
