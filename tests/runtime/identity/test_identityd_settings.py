"""identityd's settings: every source, and what is wrong with each."""

from typing import Any

import pytest

from skerry.base.errors import SettingsError
from skerry.identity.model import Auth
from skerry.identity.settings import Dps, Manual, Settings, parse_settings

DPS: dict[str, Any] = {
    "source": "dps",
    "global_endpoint": "https://dps.example/",
    "scope_id": "0ne1",
    "attestation": {"method": "tpm", "registration_id": "r"},
}
MANUAL: dict[str, Any] = {
    "source": "manual",
    "iothub_hostname": "hub.example",
    "device_id": "d",
    "authentication": {"method": "sas", "device_id_pk": "device-id"},
}
RENEW = {"threshold": "50%", "retry": "2%", "rotate_key": False}
X509 = {"method": "x509", "identity_cert": "device-id", "identity_pk": "device-id"}


def parsed(provisioning: dict[str, Any], **more: object) -> Settings:
    return parse_settings({"hostname": "h", "provisioning": provisioning, **more})


def test_dps_by_tpm() -> None:
    """Scope, endpoint and registration are taken over."""
    source = parsed({**DPS, "payload": {"uri": "file:///a%20b.json"}}).source
    assert isinstance(source, Dps)
    assert (source.registration_id, source.proof.auth) == ("r", Auth.TPM)
    assert source.payload_path == "/a b.json"


def test_dps_by_a_certificate_without_a_registration_id() -> None:
    """The certificate's common name is the registration id."""
    source = parsed({**DPS, "attestation": {**X509, "identity_auto_renew": RENEW}}).source
    assert isinstance(source, Dps)
    assert source.registration_id is None
    assert source.proof.certificate is not None
    assert source.proof.certificate.policy is not None
    assert source.proof.certificate.policy.rotate_key is False


def test_a_hub_by_hand() -> None:
    """Manual sources have their key in keyd, or a certificate."""
    source = parsed(MANUAL).source
    assert isinstance(source, Manual)
    assert (source.proof.auth, source.proof.key_id) == (Auth.SAS, "device-id")
    assert parsed({**MANUAL, "authentication": X509}).source is not None
    assert parsed({"source": "none"}).source is None


def test_the_fingerprint_tells_settings_apart() -> None:
    """Whatever leads to another identity changes it; limits do not."""
    prints = {
        parsed(MANUAL).fingerprint(),
        parsed({**MANUAL, "device_id": "e"}).fingerprint(),
        parsed({**MANUAL, "local_gateway_hostname": "parent"}).fingerprint(),
        parsed(DPS).fingerprint(),
    }
    assert len(prints) == 4
    assert parsed(MANUAL, max_requests=3).fingerprint() == parsed(MANUAL).fingerprint()


@pytest.mark.parametrize(
    ("provisioning", "message"),
    [
        ({**DPS, "global_endpoint": "http://x"}, "global_endpoint is 'http://x', expected https"),
        ({**DPS, "global_endpoint": 1}, "global_endpoint is 1"),
        ({**DPS, "scope_id": ""}, "scope_id is ''"),
        ({**DPS, "attestation": None}, "attestation.method is None"),
        ({**DPS, "attestation": {"method": "sms"}}, "attestation.method is 'sms'"),
        ({**DPS, "attestation": {"method": "tpm"}}, "registration_id is missing"),
        (
            {**DPS, "attestation": {"method": "tpm", "registration_id": "a b"}},
            "registration_id is 'a b'",
        ),
        (
            {**DPS, "attestation": {"method": "symmetric_key", "registration_id": "r"}},
            "symmetric_key is None, expected the id of a key",
        ),
        ({**DPS, "attestation": {**X509, "identity_pk": "other"}}, "expected the same id"),
        ({**DPS, "attestation": {**X509, "identity_cert": 1}}, "expected the same id"),
        (
            {**DPS, "attestation": {**X509, "identity_auto_renew": {"threshold": "x"}}},
            "identity_auto_renew.threshold is 'x'",
        ),
        ({**DPS, "payload": {"uri": "https://x"}}, "payload is .* expected uri = 'file:///"),
        ({**DPS, "payload": 1}, "payload is 1"),
        ({**MANUAL, "iothub_hostname": None}, "iothub_hostname is None"),
        ({**MANUAL, "device_id": None}, "device_id is None"),
        ({**MANUAL, "authentication": {"method": "tpm"}}, "authentication.method is 'tpm'"),
    ],
)
def test_wrong_provisioning_is_named(provisioning: dict[str, Any], message: str) -> None:
    """The message has key and value."""
    with pytest.raises(SettingsError, match=message):
        parsed(provisioning)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"cloud_timeout_sec": 10}, "cloud_timeout_sec is 10, expected an integer of at least 70"),
        ({"cloud_retries": True}, "cloud_retries is True"),
        ({"trusted_certs": "a"}, "trusted_certs is 'a'"),
        ({"trusted_certs": [1]}, "expected an array of certificate ids"),
        ({"prefer_module_identity_cache": 1}, "prefer_module_identity_cache is 1"),
    ],
)
def test_wrong_settings_are_named(more: dict[str, object], message: str) -> None:
    """Limits and lists are checked before the service serves."""
    with pytest.raises(SettingsError, match=message):
        parsed(MANUAL, **more)
