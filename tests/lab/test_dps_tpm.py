"""DPS by TPM: the challenge, and the hub's key in a form that only this TPM can import.

Here the test knows the keys that DPS made up; what a real TPM makes of the blobs is shown by the
tests of provisioning with swtpm.
"""

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from harness.lab import HUB, Got, Hosted
from skerry.wire.tpm import ENDORSEMENT_TEMPLATE, STORAGE_TEMPLATE, Public, parse_import_blob
from skerry_lab.dps.model import Attestation, Enrollment, Reprovision, checked

Keys = tuple[str, str]


def public(template: Public) -> str:
    modulus = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n
    area = replace(template, unique=modulus.to_bytes(256, "big"))
    return base64.b64encode(area.marshal()).decode()


@pytest.fixture(scope="module")
def keys() -> Keys:
    """Endorsement key and storage root key of a TPM."""
    return public(ENDORSEMENT_TEMPLATE), public(STORAGE_TEMPLATE)


def enrol(lab: Hosted, keys: Keys, reprovision: Reprovision = Reprovision.MIGRATE) -> None:
    enrollment = Enrollment(
        "dev1", Attestation.TPM, endorsement_key=keys[0], reprovision=reprovision
    )
    lab.store.do(lambda cloud: cloud.dps.put_enrollment(checked(enrollment)))


def challenge(lab: Hosted, keys: Keys) -> Got:
    tpm = {"endorsementKey": keys[0], "storageRootKey": keys[1]}
    line = f"PUT /{lab.scope}/registrations/dev1/register"
    return lab.call(line, {"registrationId": "dev1", "tpm": tpm})


def nonces(lab: Hosted) -> list[bytes]:
    """What the TPM would have imported, newest first."""
    found = lab.store.do(lambda cloud: cloud.dps.nonces("dev1", lab.clock.now().replace(year=2000)))
    return [key for key, _ in found]


def register(lab: Hosted, key: bytes) -> Got:
    token = lab.token(f"{lab.scope}/registrations/dev1", key, "registration")
    line = f"PUT /{lab.scope}/registrations/dev1/register"
    return lab.call(line, {"registrationId": "dev1"}, token=token)


def state(lab: Hosted, key: bytes) -> dict[str, object]:
    token = lab.token(f"{lab.scope}/registrations/dev1", key, "registration")
    operation = register(lab, key)["operationId"]
    line = f"GET /{lab.scope}/registrations/dev1/operations/{operation}"
    found = lab.call(line, token=token)["registrationState"]
    assert isinstance(found, dict)
    return found


def test_a_tpm_is_challenged_and_assigned(hosted: Hosted, keys: Keys) -> None:
    """401 with a key for the TPM; a token signed with it; the hub's key comes in the same form."""
    enrol(hosted, keys)
    asked = challenge(hosted, keys)
    assert (asked.status, asked["errorCode"], asked["keyName"]) == (401, 401002, "registration")
    parse_import_blob(base64.b64decode(str(asked["authenticationKey"])))
    found = state(hosted, nonces(hosted)[0])
    assert (found["status"], found["assignedHub"], found["deviceId"]) == ("assigned", HUB, "dev1")
    assert isinstance(found["tpm"], dict)
    parse_import_blob(base64.b64decode(found["tpm"]["authenticationKey"]))
    device = hosted.registry.device("dev1")
    token = hosted.token(f"{HUB}/devices/dev1", device.authentication.keys[0])
    line = "GET /devices/dev1/modules"
    assert hosted.call(line, token=token, version="2017-11-08-preview").status == 200


def test_the_hubs_key_stays_unless_the_device_is_reset(hosted: Hosted, keys: Keys) -> None:
    """Registering again gives the same key, so that a device cut off in between is not shut out."""
    enrol(hosted, keys)
    challenge(hosted, keys)
    state(hosted, nonces(hosted)[0])
    first = hosted.registry.device("dev1").authentication
    challenge(hosted, keys)
    state(hosted, nonces(hosted)[0])
    assert hosted.registry.device("dev1").authentication == first
    enrol(hosted, keys, Reprovision.RESET)
    state(hosted, nonces(hosted)[0])
    assert hosted.registry.device("dev1").authentication != first


def test_each_challenge_is_another_and_the_last_few_count(hosted: Hosted, keys: Keys) -> None:
    """Nobody who merely asks for challenges keeps the device from answering its own."""
    enrol(hosted, keys)
    challenge(hosted, keys)
    own = nonces(hosted)[0]
    for _ in range(3):
        challenge(hosted, keys)
    assert register(hosted, own).status == 202
    challenge(hosted, keys)
    assert len(set(nonces(hosted))) == 4
    assert register(hosted, own).message == (
        "the token is not signed with the key of a recent challenge"
    )


def test_a_challenge_ends(hosted: Hosted, keys: Keys) -> None:
    """Ten minutes later the key of a challenge is worth nothing."""
    enrol(hosted, keys)
    challenge(hosted, keys)
    key = nonces(hosted)[0]
    hosted.clock.move(601)
    assert register(hosted, key).status == 401


def test_another_tpm_is_refused(hosted: Hosted, keys: Keys) -> None:
    """Only the endorsement key enrolled is challenged, and only with keys that are a TPM's."""
    enrol(hosted, keys)
    other = public(ENDORSEMENT_TEMPLATE)
    got = challenge(hosted, (other, keys[1]))
    assert got.message == "the endorsement key is not the one enrolled"
    for storage in ("", "AAAA", keys[0]):
        assert "the TPM's keys cannot be used" in challenge(hosted, (keys[0], storage)).message
    assert nonces(hosted) == []
    assert register(hosted, b"k" * 32).status == 401
