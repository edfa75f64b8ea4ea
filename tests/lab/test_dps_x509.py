"""DPS by X.509: the leaf of an individual enrolment, the authorities of a group."""

from datetime import timedelta

import pytest

from harness.lab import HUB, START, Got, Hosted, Signed, signed
from skerry_lab.dps.model import Attestation, Enrollment, checked


@pytest.fixture(scope="module")
def root() -> Signed:
    return signed("root", authority=True)


def enrol(lab: Hosted, name: str, *certificates: Signed, group: bool = False) -> None:
    enrollment = Enrollment(
        name, Attestation.X509, group=group, certificates=tuple(c.pem for c in certificates)
    )
    lab.store.do(lambda cloud: cloud.dps.put_enrollment(checked(enrollment)))


def register(lab: Hosted, device: Signed, name: str = "dev1") -> Got:
    line = f"PUT /{lab.scope}/registrations/{name}/register"
    return lab.call(line, {"registrationId": name}, certificates=device.der)


def modules(lab: Hosted, device: Signed, name: str = "dev1") -> int:
    line = f"GET /devices/{name}/modules"
    return lab.call(line, certificates=device.der, version="2017-11-08-preview").status


def test_an_enrolled_leaf_is_assigned(hosted: Hosted) -> None:
    """The very certificate counts, whatever its name; the hub knows it by its thumbprint."""
    device = signed("some name")
    enrol(hosted, "dev1", device)
    begun = register(hosted, device)
    line = f"GET /{hosted.scope}/registrations/dev1/operations/{begun['operationId']}"
    state = hosted.call(line, certificates=device.der)["registrationState"]
    assert isinstance(state, dict)
    assert (state["status"], state["assignedHub"], state["x509"]) == ("assigned", HUB, {})
    assert modules(hosted, device) == 200
    assert hosted.call(line).status == 401


def test_another_leaf_is_refused(hosted: Hosted) -> None:
    """A certificate of the same name is another; one that has expired is named."""
    device = signed("dev1")
    enrol(hosted, "dev1", device)
    got = register(hosted, signed("dev1"))
    assert (got.status, got["errorCode"]) == (401, 401002)
    assert got.message == "the certificate is not the one enrolled"
    hosted.clock.move(40 * 86400)
    assert "the certificate expired 2026-12-22" in register(hosted, device).message


def test_either_leaf_of_an_enrolment_counts(hosted: Hosted) -> None:
    """An enrolment has a primary and a secondary certificate; the hub follows the one in use."""
    first, second = signed("dev1"), signed("dev1")
    enrol(hosted, "dev1", first, second)
    assert register(hosted, first).status == 202
    assert (modules(hosted, first), modules(hosted, second)) == (200, 401)
    assert register(hosted, second).status == 202
    assert (modules(hosted, first), modules(hosted, second)) == (401, 200)


def test_a_group_takes_what_its_authority_signed(hosted: Hosted, root: Signed) -> None:
    """Root or intermediate may be enrolled; the leaf's common name is the registration id."""
    middle = signed("middle", root, authority=True)
    enrol(hosted, "by-root", root, group=True)
    assert register(hosted, signed("dev1", middle)).status == 202
    hosted.store.do(lambda cloud: cloud.dps.delete_enrollment("by-root", group=True))
    enrol(hosted, "by-middle", middle, group=True)
    assert register(hosted, signed("dev2", middle), "dev2").status == 202
    assert register(hosted, signed("dev3", root), "dev3").message == "CA certificate not found"
    got = register(hosted, signed("dev4", middle), "dev5")
    assert got.message == "the certificate's common name is not the registration id"


def test_a_renewed_certificate_of_a_group_is_followed(hosted: Hosted, root: Signed) -> None:
    """After a renewal the device registers again and the hub knows the new thumbprint."""
    enrol(hosted, "site", root, group=True)
    old, new = signed("dev1", root), signed("dev1", root, start=START - timedelta(hours=1))
    assert register(hosted, old).status == 202
    assert (modules(hosted, old), modules(hosted, new)) == (200, 401)
    assert register(hosted, new).status == 202
    assert modules(hosted, new) == 200


def test_an_individual_enrolment_goes_before_the_group(hosted: Hosted, root: Signed) -> None:
    """A device that is enrolled for itself does not come in by its group."""
    enrol(hosted, "site", root, group=True)
    enrol(hosted, "dev1", signed("dev1"))
    assert register(hosted, signed("dev1", root)).status == 401


def test_ways_do_not_mix(hosted: Hosted) -> None:
    """A key is no way into an enrolment for a certificate, nor junk into any."""
    enrol(hosted, "dev1", signed("dev1"))
    line = f"PUT /{hosted.scope}/registrations/dev1/register"
    token = hosted.token(f"{hosted.scope}/registrations/dev1", b"k" * 32)
    assert "is for a certificate" in hosted.call(line, {}, token=token).message
    got = hosted.call(line, {}, certificates=(b"junk",))
    assert "the client's certificate cannot be read" in got.message
    key = Enrollment(
        "dev2", Attestation.SYMMETRIC_KEY, primary_key="a" * 44, secondary_key="a" * 44
    )
    hosted.store.do(lambda cloud: cloud.dps.put_enrollment(key))
    assert "is not for a certificate" in register(hosted, signed("dev2"), "dev2").message


def test_a_group_names_an_authority_that_is_proven(hosted: Hosted, root: Signed) -> None:
    """Until it is verified, and once it is gone, it lets nobody register."""
    body = {"attestation": {"type": "x509", "x509": {"caReferences": {"primary": "plant"}}}}
    policy = hosted.store.do(lambda cloud: cloud.policies.get("iothubowner"))
    assert policy is not None
    token = hosted.token(HUB, policy.keys[0], policy.name)
    made = hosted.call("PUT /enrollmentGroups/site", body, token=token)
    assert (made.status, made["attestation"]) == (200, body["attestation"])
    device = signed("dev1", root)
    hosted.store.do(lambda cloud: cloud.authorities.put("plant", root.pem, verified=False))
    assert register(hosted, device).status == 401
    hosted.registry.trust("plant", root.pem)
    assert register(hosted, device).status == 202
    hosted.store.do(lambda cloud: cloud.authorities.delete("plant"))
    got = register(hosted, device)
    assert (got.status, got.message) == (401, "CA certificate not found")
    alone = hosted.call("PUT /enrollments/dev2", body, token=token)
    assert (alone.status, "only a group may name authorities" in alone.message) == (400, True)
