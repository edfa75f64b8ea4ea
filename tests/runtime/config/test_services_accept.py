"""What the plan writes is what the services read: their parsers accept every case."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from skerry.certs import model as certs
from skerry.identity import settings as identity
from skerry.keys import model as keys
from skerry.tpm import model as tpm
from skerry.workloads import settings as workloads

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "config"
CASES = sorted(path.name for path in GOLDEN.iterdir())


def _settings(case: str, service: str) -> dict[str, Any]:
    return tomllib.loads((GOLDEN / case / f"{service}.toml").read_text())


@pytest.mark.parametrize("case", CASES)
def test_the_services_accept_their_settings(case: str) -> None:
    """keyd, certd, identityd, tpmd and edged take the files, and find themselves in them."""
    key_settings = keys.parse_settings(_settings(case, "keyd"))
    cert_settings = certs.parse_settings(_settings(case, "certd"))
    identity_settings = identity.parse_settings(_settings(case, "identityd"))
    tpm.parse_settings(_settings(case, "tpmd"))
    workloads.parse_settings(_settings(case, "edged"))
    key_settings.require(13614, "aziot_identityd_master_id")
    key_settings.require(13615, "aziot-edged-ca")
    cert_settings.require(13615, "aziot-edged/module/sample-sensor:server")
    issued = "device-id" in cert_settings.issuance
    if issued:
        key_settings.require(13614, "device-id")
        cert_settings.require(13614, "device-id")
    source = identity_settings.source
    assert issued or not isinstance(source, identity.Standalone)
    if isinstance(source, identity.Standalone):
        assert source.hub_name == source.device_id or case == "standalone-named"


def test_roots_for_the_cloud_are_certificates_that_certd_has() -> None:
    """The user's trust bundle is what identityd trusts beside the system's authorities."""
    trusted = identity.parse_settings(_settings("cloud-trust", "identityd")).trusted_certs
    assert trusted == ("trust-bundle-user",)
    assert set(trusted) <= set(_settings("cloud-trust", "certd")["preloaded_certs"])
