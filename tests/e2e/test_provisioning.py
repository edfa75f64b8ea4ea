"""From config.toml to a provisioned device: the real services, the lab's DPS and hub over TLS."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.applied import AppliedDevice, applied_device
from harness.lab import signed
from harness.swtpm import swtpm
from skerry.base.client import ApiError
from skerry.heads.certificates import thumbprints
from skerry.tpm.client import TpmClient
from skerry.wire import sas
from skerry_lab.dps.model import Attestation, Enrollment
from skerry_lab.registry.model import Authentication, AuthType
from skerry_lab.server import Lab

pytestmark = pytest.mark.faults  # three processes a test: too slow for the default tier

KEY = b"the key of an enrolment, 32 byte"
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True)
class Site:
    """A lab, and a device that trusts it."""

    folder: Path
    lab: Lab
    device: AppliedDevice

    def apply(self, provisioning: str) -> None:
        """Apply a config.toml; it has to be accepted."""
        root = self.folder / "lab" / "ca.pem"
        outcome = self.device.apply(f'trust_bundle_cert = "file://{root}"\n\n{provisioning}')
        assert outcome.result == "applied", outcome.problems

    def dps(self, attestation: str) -> str:
        """Return the tables for the lab's DPS."""
        return (
            f'[provisioning]\nsource = "dps"\nglobal_endpoint = "{self.lab.endpoint}"\n'
            f'id_scope = "{self.lab.id_scope}"\n\n[provisioning.attestation]\n{attestation}'
        )

    def file(self, name: str, text: str) -> str:
        """Write a private file and return its URI."""
        path = self.folder / name
        path.touch(0o600)
        path.write_text(text)
        return f"file://{path}"

    def enrol(self, name: str, key: bytes, *, group: bool = False) -> None:
        """Enrol by symmetric key."""
        keys = b64(key)
        self.lab.add_enrollment(
            Enrollment(name, Attestation.SYMMETRIC_KEY, group, primary_key=keys, secondary_key=keys)
        )

    def expect(self, device_id: str, auth: str) -> None:
        """The device is who the cloud says, and makes a module that the hub knows."""
        found = self.device.identity.device()
        assert (found.hub_name, found.device_id, found.auth_type) == (
            self.lab.hub_name, device_id, auth,
        )  # fmt: skip
        module = self.device.identity.create_module("sensor")
        at_hub = {each.module_id: each for each in self.lab.registry.modules(device_id)}
        assert at_hub["sensor"].generation_id == module.generation_id

    def leaks(self, secret: str) -> list[str]:
        """Return the files below /etc that hold a secret in the clear, secrets.json aside."""
        files = (path for path in self.device.device.paths.etc.rglob("*") if path.is_file())
        kept = "secrets.json"
        return [str(path) for path in files if path.name != kept and secret in path.read_text()]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Lab(tmp_path / "lab") as lab, applied_device(tmp_path / "device") as device:
        yield Site(tmp_path, lab, device)


def test_by_symmetric_key(site: Site) -> None:
    """A key in config.toml; it is sealed on the way, and works at DPS and hub."""
    site.enrol("pump-7", KEY)
    site.apply(
        site.dps(
            'method = "symmetric_key"\nregistration_id = "pump-7"\n'
            f'symmetric_key = {{ value = "{b64(KEY)}" }}\n'
        )
    )
    site.expect("pump-7", "sas")
    assert site.leaks(b64(KEY)) == []


def test_by_the_key_of_a_group(site: Site) -> None:
    """The device keeps what is derived from the group's key, and never the group's key itself."""
    site.enrol("plant", KEY, group=True)
    settings = f'method = "symmetric_key"\nregistration_id = "pump-8"\ngroup_key = "{b64(KEY)}"\n'
    site.apply(site.dps(settings))
    site.expect("pump-8", "sas")
    assert site.leaks(b64(KEY)) == site.leaks(b64(sas.device_key(KEY, "pump-8"))) == []


def test_by_connection_string(site: Site) -> None:
    """What `skerry-lab device show` prints is pasted."""
    site.lab.registry.create_device("pump-9")
    text = site.lab.connection_string("pump-9")
    site.apply(f'[provisioning]\nsource = "manual"\nconnection_string = "{text}"\n')
    site.expect("pump-9", "sas")
    assert site.leaks(text.rpartition("SharedAccessKey=")[2]) == []


def test_by_certificate(site: Site) -> None:
    """Certificate and key are files; enrolled is the authority that signed the certificate."""
    root = signed("plant root", authority=True, start=YESTERDAY)
    leaf = signed("pump-10", root, start=YESTERDAY)
    site.lab.add_enrollment(
        Enrollment("plant", Attestation.X509, group=True, certificates=(root.pem,))
    )
    certificate = site.file("device.pem", leaf.chain_pem)
    key = site.file("device.key.pem", leaf.key_pem)
    site.apply(
        site.dps(f'method = "x509"\nidentity_cert = "{certificate}"\nidentity_pk = "{key}"\n')
    )
    site.expect("pump-10", "x509")


def test_by_certificate_without_dps(site: Site) -> None:
    """Hub and device by hand, the hub knows the thumbprint."""
    leaf = signed("pump-11", start=YESTERDAY)
    sha256, _ = thumbprints(leaf.chain[0])
    auth = Authentication(AuthType.SELF_SIGNED, primary_thumbprint=sha256)
    site.lab.registry.create_device("pump-11", authentication=auth)
    certificate = site.file("device.pem", leaf.chain_pem)
    key = site.file("device.key.pem", leaf.key_pem)
    site.apply(
        f'[provisioning]\nsource = "manual"\niothub_hostname = "{site.lab.hub_name}"\n'
        'device_id = "pump-11"\n\n[provisioning.authentication]\nmethod = "x509"\n'
        f'identity_cert = "{certificate}"\nidentity_pk = "{key}"\n'
    )
    site.expect("pump-11", "x509")


def test_by_tpm(tmp_path: Path) -> None:
    """The endorsement key is enrolled; DPS challenges the TPM, and the hub's key stays in it."""
    with (
        swtpm(tmp_path / "tpm") as tpm,
        Lab(tmp_path / "lab") as lab,
        applied_device(tmp_path / "device", "tpmd") as device,
    ):
        site = Site(tmp_path, lab, device)
        attestation = 'method = "tpm"\nregistration_id = "pump-14"\n'
        site.apply(site.dps(attestation) + f'\n[tpm]\ntcti = "{tpm.tcti}"\n')
        with pytest.raises(ApiError, match="no enrollment found for this TPM"):
            device.identity.device()
        endorsement, _ = TpmClient(device.processes.socket("tpmd")).tpm_keys()
        lab.add_enrollment(Enrollment("pump-14", Attestation.TPM, endorsement_key=b64(endorsement)))
        site.expect("pump-14", "tpm")
        tpm.restart()
        device.processes.restart(["keyd", "certd", "identityd", "tpmd"])
        device.identity.create_module("after-a-power-cut")
        lab.add_enrollment(
            Enrollment("pump-14", Attestation.TPM, endorsement_key=b64(endorsement), enabled=False)
        )
        with pytest.raises(ApiError, match="disabled"):
            device.identity.reprovision()
        device.identity.create_module("after-a-refusal")


def test_a_device_that_is_not_enrolled_is_told_why(site: Site) -> None:
    """The configuration holds, the reason is DPS's, and once enrolled it needs no new apply."""
    settings = (
        'method = "symmetric_key"\nregistration_id = "pump-12"\n'
        f'symmetric_key = {{ value = "{b64(KEY)}" }}\n'
    )
    site.apply(site.dps(settings))
    with pytest.raises(ApiError, match=r"no enrollment found for this registration id \(404201\)"):
        site.device.identity.device()
    site.enrol("pump-12", KEY)
    site.expect("pump-12", "sas")


def test_offline_the_device_stays_who_it_is(site: Site) -> None:
    """After a restart without the cloud the identity is there; the lab knows it when it is back."""
    site.enrol("pump-13", KEY)
    site.apply(
        site.dps(
            'method = "symmetric_key"\nregistration_id = "pump-13"\n'
            f'symmetric_key = {{ value = "{b64(KEY)}" }}\n'
        )
    )
    site.expect("pump-13", "sas")
    site.lab.stop()
    try:
        site.device.processes.restart(["keyd", "certd", "identityd"])
        assert site.device.identity.device().device_id == "pump-13"
    finally:
        site.lab.start()
    site.device.identity.create_module("other")
