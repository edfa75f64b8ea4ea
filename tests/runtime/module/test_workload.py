"""A module's side of the workload API: tokens, trust and certificates, over a real socket."""

from pathlib import Path

import pytest

from fakes.workload import VERSION, FakeWorkload
from skerry.base.client import ApiError, UnreachableError
from skerry.base.https import HttpsError
from skerry.module.errors import WorkloadError
from skerry.module.workload import WorkloadClient
from skerry.wire import sas

NOW = 1_800_000_000.0


def client(socket_path: Path) -> WorkloadClient:
    return WorkloadClient(socket_path, VERSION, "$edgeAgent", "7")


def test_a_token_is_signed_by_the_modules_key(tmp_path: Path) -> None:
    """It holds for an hour and is renewed after half of it."""
    fake = FakeWorkload(module="$edgeAgent")
    with fake.serving(tmp_path / "w.sock"):
        token = client(tmp_path / "w.sock").token("Hub/devices/d/modules/$edgeAgent", NOW)
    parsed = sas.parse(token.text)
    sas.verify(parsed, b"key", NOW)
    assert parsed.audience == "hub/devices/d/modules/$edgeagent"
    assert (parsed.expires, token.renew_at) == (NOW + 3600, NOW + 1800)


def test_the_trust_bundle_is_trusted_beside_the_system(tmp_path: Path) -> None:
    """The device's root is among the certificates."""
    fake = FakeWorkload()
    with fake.serving(tmp_path / "w.sock"):
        context = client(tmp_path / "w.sock").trust()
    subjects = [str(found.get("subject")) for found in context.get_ca_certs()]
    assert any("edge CA" in subject for subject in subjects)


def test_what_edged_refuses_is_told(tmp_path: Path) -> None:
    """With its own words."""
    fake = FakeWorkload(module="$edgeAgent", refusals={"sign": (403, "not yours")})
    with fake.serving(tmp_path / "w.sock"), pytest.raises(ApiError, match="not yours"):
        client(tmp_path / "w.sock").token("a", NOW)


def test_without_edged_there_is_no_token(tmp_path: Path) -> None:
    """Asking again may help."""
    with pytest.raises(UnreachableError):
        client(tmp_path / "w.sock").token("a", NOW)


@pytest.mark.parametrize("call", ["trust-bundle", "sign"])
def test_answers_of_another_shape_are_refused(call: str, tmp_path: Path) -> None:
    """No half of a certificate, no signature that is none."""
    fake = FakeWorkload(module="$edgeAgent")
    fake.answers[call] = {"certificate": "-----BEGIN", "digest": "*"}
    with fake.serving(tmp_path / "w.sock"):
        if call == "sign":
            with pytest.raises(WorkloadError, match="not base64"):
                client(tmp_path / "w.sock").token("a", NOW)
        else:
            with pytest.raises(HttpsError, match="cannot be read"):
                client(tmp_path / "w.sock").trust()
