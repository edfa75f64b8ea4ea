"""What the plan writes is what the services read: their parsers accept the standalone cases."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from skerry.certs import model as certs
from skerry.identity import settings as identity
from skerry.keys import model as keys

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "config"
IMPLEMENTED = (
    "standalone", "standalone-named", "local-ca-self-signed", "edge-ca-local-ca",
    "edge-ca-self-signed",
    "edge-ca-preloaded", "edge-ca-quickstart", "limits", "agent", "preloaded",
)  # fmt: skip


def _settings(case: str, service: str) -> dict[str, Any]:
    return tomllib.loads((GOLDEN / case / f"{service}.toml").read_text())


@pytest.mark.parametrize("case", IMPLEMENTED)
def test_the_services_accept_their_settings(case: str) -> None:
    """keyd, certd and identityd take the files, and find themselves in them."""
    key_settings = keys.parse_settings(_settings(case, "keyd"))
    cert_settings = certs.parse_settings(_settings(case, "certd"))
    identity_settings = identity.parse_settings(_settings(case, "identityd"))
    key_settings.require(13614, "device-id")
    key_settings.require(13615, "aziot-edged-ca")
    cert_settings.require(13614, "device-id")
    cert_settings.require(13615, "aziot-edged/module/sample-sensor:server")
    assert "device-id" in cert_settings.issuance
    source = identity_settings.source
    assert isinstance(source, identity.Standalone)
    assert source.hub_name == source.device_id or case == "standalone-named"
