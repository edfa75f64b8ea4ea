"""What a device shows of itself when the service behind the proof is away, or the proof is none."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from skerry.base.clock import SystemClock
from skerry.base.log import get_logger
from skerry.certs.client import CertsClient
from skerry.identity.certificate import DeviceCertificate
from skerry.identity.proof import DeviceProof, NoProof, SasProof, TpmProof, X509Proof
from skerry.identity.settings import CertificateSource
from skerry.keys.client import KeysClient
from skerry.provisioning.errors import CredentialError
from skerry.tpm.client import TpmClient


def by_key(folder: Path) -> DeviceProof:
    return SasProof(KeysClient(folder / "keyd.sock"), "device-id")


def by_certificate(folder: Path) -> DeviceProof:
    keys, certs = KeysClient(folder / "keyd.sock"), CertsClient(folder / "certd.sock")
    source = CertificateSource("device-id", "pump-7", None)
    certificate = DeviceCertificate(source, keys, certs, SystemClock(), get_logger("identityd"))
    return X509Proof(keys, certificate)


def by_tpm(folder: Path) -> DeviceProof:
    return TpmProof(TpmClient(folder / "tpmd.sock"))


def by_nothing(folder: Path) -> DeviceProof:
    return NoProof()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (by_key, "the key of this device cannot be used: .*keyd.sock"),
        (by_certificate, "the certificate of this device cannot be had: .*d.sock"),
        (by_tpm, "the TPM cannot be used: .*tpmd.sock"),
        (by_nothing, "this device has no hub"),
    ],
    ids=["symmetric key", "certificate", "tpm", "none"],
)
def test_a_proof_that_cannot_be_had_names_what_is_away(
    tmp_path: Path, make: Callable[[Path], DeviceProof], message: str
) -> None:
    """The reason names the service, so that people look there and not at DPS."""
    proof = make(tmp_path)
    with pytest.raises(CredentialError, match=message):
        proof.credential("hub/devices/pump-7", None).authorization(
            datetime(2026, 1, 1, tzinfo=UTC).timestamp()
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (by_key, "a symmetric key names no registration"),
        (by_certificate, "the certificate of this device cannot be had"),
        (by_tpm, "a TPM names no registration"),
        (by_nothing, "this device has no hub"),
    ],
    ids=["symmetric key", "certificate", "tpm", "none"],
)
def test_only_a_certificate_names_its_registration(
    tmp_path: Path, make: Callable[[Path], DeviceProof], message: str
) -> None:
    """Without one the settings have to name it."""
    with pytest.raises(CredentialError, match=message):
        make(tmp_path).registration_id()


def test_the_tpm_has_no_handle_to_give_away(tmp_path: Path) -> None:
    """Who asks for the device's identity learns the kind of its key only, without tpmd running."""
    assert by_tpm(tmp_path).answer() == {"type": "tpm"}


def test_without_a_hub_there_is_no_answer(tmp_path: Path) -> None:
    """`source = "none"` is told as such."""
    with pytest.raises(CredentialError, match=r'provisioning\.source = "none"'):
        by_nothing(tmp_path).answer()
