"""A device with a lab cloud: real keyd, certd and identityd, a real DPS and hub over TLS."""

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.lab import Signed
from harness.services import Services
from skerry.certs.client import CertsClient
from skerry.identity.client import IdentityClient
from skerry.keys.client import KeysClient
from skerry.wire import sas
from skerry_lab.dps.model import Attestation, Enrollment
from skerry_lab.dps.service import DpsSettings
from skerry_lab.server import Lab, LabSettings

KEY = b"0123456789abcdef0123456789abcdef"
GROUP_KEY = b"group-key-of-32-bytes-is-derived"
QUICK = LabSettings(dps=DpsSettings(poll_after_seconds=0))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class CloudDevice:
    """The services of one device; `lab` is the cloud that it trusts."""

    services: Services
    lab: Lab

    @property
    def keys(self) -> KeysClient:
        return KeysClient(self.services.socket("keyd"))

    @property
    def certs(self) -> CertsClient:
        return CertsClient(self.services.socket("certd"))

    @property
    def identity(self) -> IdentityClient:
        return IdentityClient(self.services.socket("identityd"))

    def configure(self, provisioning: str, more: str = "") -> None:
        """Write identityd's settings; `more` goes before the tables."""
        uid = os.getuid()
        self.services.configure(
            "identityd",
            f'hostname = "pump"\ntrusted_certs = ["lab-root"]\ncloud_retries = 0\n{more}\n'
            f'[[principal]]\nuid = {uid}\nname = "aziot-edge"\n{provisioning}',
        )

    def start(self, provisioning: str, more: str = "") -> IdentityClient:
        """Start identityd, again if it runs, with these settings."""
        self.configure(provisioning, more)
        self.restart()
        return self.identity

    def restart(self) -> None:
        """Start identityd anew, with what it kept."""
        self.services.end_hosted("identityd")
        self.services.host("identityd")

    def dps(self, attestation: str, *, scope: str | None = None) -> str:
        """Return the provisioning by the lab's DPS."""
        return (
            f'[provisioning]\nsource = "dps"\nglobal_endpoint = "{self.lab.endpoint}"\n'
            f'scope_id = "{scope or self.lab.id_scope}"\n[provisioning.attestation]\n{attestation}'
        )

    def manual(self, authentication: str, device_id: str = "pump-7") -> str:
        """Return the provisioning by hand."""
        return (
            f'[provisioning]\nsource = "manual"\niothub_hostname = "{self.lab.hub_name}"\n'
            f'device_id = "{device_id}"\n[provisioning.authentication]\n{authentication}'
        )

    def issue_with(self, authority: Signed) -> None:
        """Have certd issue the device's certificates by an authority of the test."""
        folder = self.services.folder
        (folder / "authority.pem").write_text(authority.chain_pem)
        (folder / "authority.key").write_text(authority.key_pem)
        uid = os.getuid()
        self.services.configure(
            "keyd",
            f'[preloaded_keys]\nlocal-ca = "file://{folder}/authority.key"\n'
            f'[[principal]]\nuid = {uid}\nkeys = ["*"]\n',
        )
        self.services.configure(
            "certd",
            f'[preloaded_certs]\nlocal-ca = "file://{folder}/authority.pem"\n'
            '[cert_issuance.local_ca]\ncert = "local-ca"\npk = "local-ca"\n'
            + "".join(
                f'[cert_issuance.{cert_id}]\nmethod = "local_ca"\nexpiry_days = 20\n'
                for cert_id in ("device-id", "device-id-temp")
            )
            + f'[[principal]]\nuid = {uid}\ncerts = ["*"]\n',
        )
        for name in ("certd", "keyd"):
            self.services.end_hosted(name)
        for name in ("keyd", "certd"):
            self.services.host(name)

    def enrol(self, registration_id: str = "pump-7", key: bytes = KEY, **facts: object) -> None:
        """Enrol a device with a symmetric key, and put that key into keyd."""
        enrolment = Enrollment(
            registration_id,
            Attestation.SYMMETRIC_KEY,
            primary_key=b64(key),
            secondary_key=b64(key),
            group=False,
            **facts,  # type: ignore[arg-type]
        )
        self.lab.add_enrollment(enrolment)
        self.keys.create_key("device-id", key)

    def enrol_group(self, registration_id: str) -> None:
        """Enrol a group, and put the key derived for one device into keyd."""
        enrolment = Enrollment(
            "plant",
            Attestation.SYMMETRIC_KEY,
            primary_key=b64(GROUP_KEY),
            secondary_key=b64(GROUP_KEY),
            group=True,
        )
        self.lab.add_enrollment(enrolment)
        self.keys.create_key("device-id", sas.device_key(GROUP_KEY, registration_id))


SYMMETRIC = 'method = "symmetric_key"\nregistration_id = "pump-7"\nsymmetric_key = "device-id"\n'
SAS = 'method = "sas"\ndevice_id_pk = "device-id"\n'
X509 = (
    'method = "x509"\nregistration_id = "pump-7"\n'
    'identity_cert = "device-id"\nidentity_pk = "device-id"\n'
)
RENEWED = (
    '[provisioning.attestation.identity_auto_renew]\nthreshold = "80%"\nretry = "4%"\n'
    "rotate_key = true\n"
)


@contextmanager
def cloud_device(folder: Path, settings: LabSettings = QUICK) -> Iterator[CloudDevice]:
    """Run a lab, and keyd and certd of a device that trusts it; identityd is for the test."""
    uid = os.getuid()
    services = Services(folder / "device")
    services.configure("keyd", f'[[principal]]\nuid = {uid}\nkeys = ["*"]\n')
    issuing = "".join(
        f'[cert_issuance.{cert_id}]\nmethod = "self_signed"\nexpiry_days = 30\n'
        for cert_id in ("device-id", "device-id-temp")
    )
    services.configure("certd", f'{issuing}[[principal]]\nuid = {uid}\ncerts = ["*"]\n')
    with Lab(folder / "lab", settings) as lab:
        services.host("keyd")
        services.host("certd")
        device = CloudDevice(services, lab)
        device.certs.put("lab-root", lab.root_pem.encode())
        try:
            yield device
        finally:
            services.stop()
