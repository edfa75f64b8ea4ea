"""DPS as services see it: enrolments and registrations over REST."""

import base64
from collections.abc import Mapping

import pytest

from harness.lab import HUB, Got, Hosted, signed
from skerry.heads.routes import Request
from skerry.wire.tpm import ENDORSEMENT_TEMPLATE
from skerry_lab.dps.model import Allocation, Attestation, Enrollment, Reprovision

KEY = base64.b64encode(b"k" * 32).decode()
BY_KEY = {"attestation": {"type": "symmetricKey"}}


def call(
    lab: Hosted,
    line: str,
    body: object = None,
    if_match: str | None = None,
    policy: str = "registryReadWrite",
) -> Got:
    found = lab.store.do(lambda cloud: cloud.policies.get(policy))
    assert found is not None
    token = lab.token(HUB, found.keys[0], policy)
    return lab.call(line, body, token=token, version="2021-10-01", if_match=if_match)


def enrollment(lab: Hosted, name: str, *, group: bool = False) -> Enrollment:
    found = lab.store.do(lambda cloud: cloud.dps.enrollment(name, group=group))
    assert found is not None
    return found


def test_an_enrolment_is_made_with_all_it_can_have(hosted: Hosted) -> None:
    """The document comes back as it was put, keys and etag added; the same it is by GET."""
    body = {
        "registrationId": "dev1",
        "deviceId": "Pump-1",
        "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY}},
        "capabilities": {"iotEdge": True},
        "provisioningStatus": "disabled",
        "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": False},
        "allocationPolicy": "static",
        "iotHubs": ["other.example"],
    }
    made = call(hosted, "PUT /enrollments/dev1", body)
    assert made.status == 200
    found = enrollment(hosted, "dev1")
    assert found == Enrollment(
        "dev1",
        Attestation.SYMMETRIC_KEY,
        primary_key=KEY,
        secondary_key=found.secondary_key,
        device_id="Pump-1",
        edge=True,
        enabled=False,
        allocation=Allocation.STATIC,
        hub="other.example",
        reprovision=Reprovision.RESET,
    )
    keys = {"primaryKey": KEY, "secondaryKey": found.secondary_key}
    attestation = {"type": "symmetricKey", "symmetricKey": keys}
    assert isinstance(made.body, Mapping)
    told = {name: value for name, value in body.items() if name != "iotHubs"}
    told |= {"attestation": attestation, "iotHubHostName": "other.example"}
    assert made.body == {**told, "etag": made.headers["etag"]}
    assert call(hosted, "GET /enrollments/dev1") == made
    mechanism = call(hosted, "POST /enrollments/dev1/attestationmechanism")
    assert mechanism.body == attestation


def test_a_device_registers_with_it(hosted: Hosted) -> None:
    """What the service is told of the registration, until it deletes it."""
    call(
        hosted,
        "PUT /enrollmentGroups/site",
        {
            "attestation": {
                "type": "x509",
                "x509": {
                    "signingCertificates": {
                        "primary": {"certificate": signed("r", authority=True).pem}
                    }
                },
            }
        },
    )
    call(hosted, "PUT /enrollments/dev1", BY_KEY)
    key = enrollment(hosted, "dev1").keys[0]
    token = hosted.token(f"{hosted.scope}/registrations/dev1", key)
    hosted.call(f"PUT /{hosted.scope}/registrations/dev1/register", {}, token=token)
    got = call(hosted, "GET /registrations/dev1")
    assert isinstance(got.body, Mapping)
    wanted = {"registrationId": "dev1", "assignedHub": HUB, "deviceId": "dev1"}
    assert got.body.items() >= {**wanted, "status": "assigned"}.items()
    assert call(hosted, "POST /registrations/site/query", {}).body == []
    assert call(hosted, "DELETE /registrations/dev1").status == 204
    assert call(hosted, "GET /registrations/dev1").status == 404
    assert call(hosted, "DELETE /registrations/dev1")["errorCode"] == 404201


def test_registrations_of_a_group_are_listed(hosted: Hosted) -> None:
    """In pages, as many as are asked for."""
    root = signed("root", authority=True)
    certificate = base64.b64encode(root.der[0]).decode()
    body = {
        "attestation": {
            "type": "x509",
            "x509": {"signingCertificates": {"primary": {"certificate": certificate}}},
        }
    }
    got = call(hosted, "PUT /enrollmentGroups/site", body)
    assert (got.status, got["enrollmentGroupId"]) == (200, "site")
    assert enrollment(hosted, "site", group=True).certificates == (root.pem,)
    for name in ("d1", "d2", "d3"):
        line = f"PUT /{hosted.scope}/registrations/{name}/register"
        assert hosted.call(line, {}, certificates=signed(name, root).der).status == 202
    token = hosted.token(HUB, _owner(hosted), "iothubowner")

    def page(start: str) -> tuple[list[str], str | None]:
        headers = {
            "authorization": token,
            "x-ms-max-item-count": "2",
            "x-ms-continuation": start,
        }
        query = {"api-version": "2021-10-01"}
        request = Request("POST", "/registrations/site/query", query, headers)
        answer = hosted.store.do(lambda cloud: cloud.answer(request))
        return answer.body.decode().split('"registrationId":"'), answer.headers.get(
            "x-ms-continuation"
        )

    first, more = page("0")
    assert ([text[:2] for text in first[1:]], more) == (["d1", "d2"], "2")
    rest, more = page("2")
    assert ([text[:2] for text in rest[1:]], more) == (["d3"], None)


def test_an_enrolment_changes_under_its_etag(hosted: Hosted) -> None:
    """409 without, 412 with another, keys stay when they are named; deleted likewise."""
    made = call(hosted, "PUT /enrollments/dev1", BY_KEY)
    etag = made.headers["etag"]
    assert call(hosted, "PUT /enrollments/dev1", BY_KEY)["errorCode"] == 409201
    changed = {**dict(made.body), "provisioningStatus": "disabled"}  # type: ignore[call-overload]
    stale = call(hosted, "PUT /enrollments/dev1", changed, if_match='"x"')
    assert (stale.status, stale["errorCode"]) == (412, 412201)
    done = call(hosted, "PUT /enrollments/dev1", changed, if_match=etag)
    assert (done.status, done["attestation"]) == (200, made["attestation"])
    assert not enrollment(hosted, "dev1").enabled
    assert call(hosted, "DELETE /enrollments/dev1", if_match=etag).status == 412
    assert call(hosted, "DELETE /enrollments/dev1", if_match="*").status == 204
    assert call(hosted, "GET /enrollments/dev1").status == 404
    assert call(hosted, "PUT /enrollments/dev1", BY_KEY, if_match=etag).status == 404


def test_a_tpm_is_enrolled(hosted: Hosted) -> None:
    """By its endorsement key."""
    key = base64.b64encode(ENDORSEMENT_TEMPLATE.marshal()).decode()
    attestation = {"type": "tpm", "tpm": {"endorsementKey": key}}
    got = call(hosted, "PUT /enrollments/t1", {"attestation": attestation})
    assert (got.status, got["attestation"]) == (200, attestation)
    assert enrollment(hosted, "t1").keys == ()


def test_enrolments_are_queried(hosted: Hosted) -> None:
    """Individual ones and groups apart."""
    for line in ("/enrollments/a", "/enrollments/b", "/enrollmentGroups/g"):
        assert call(hosted, f"PUT {line}", BY_KEY).status == 200
    query = {"query": "SELECT *  FROM enrollments"}
    got = call(hosted, "POST /enrollments/query", query).body
    assert isinstance(got, list)
    assert [each["registrationId"] for each in got] == ["a", "b"]
    got = call(hosted, "POST /enrollmentGroups/query", {}).body
    assert isinstance(got, list)
    assert [each["enrollmentGroupId"] for each in got] == ["g"]


@pytest.mark.parametrize(
    ("line", "body", "message"),
    [
        ("PUT /enrollments/d", b"{", "the body is not JSON"),
        ("PUT /enrollments/d", [], "the body is list"),
        ("PUT /enrollments/d", {}, "type is None, expected symmetricKey, x509, tpm"),
        ("PUT /enrollments/d", {"attestation": 1}, "attestation is int"),
        ("PUT /enrollments/d", {**BY_KEY, "registrationId": "e"}, "not the one in the path"),
        ("PUT /enrollments/d", {**BY_KEY, "deviceId": 1}, "deviceId is 1, expected a text"),
        ("PUT /enrollments/d", {**BY_KEY, "allocationPolicy": "x"}, "expected hashed, geo"),
        ("PUT /enrollments/d", {"attestation": {"type": "x509"}}, "needs a certificate"),
        (
            "PUT /enrollments/d",
            {**BY_KEY, "reprovisionPolicy": {"updateHubAssignment": False}},
            "migrateDeviceData needs updateHubAssignment",
        ),
        ("POST /enrollments/query", {"query": "SELECT 1"}, "only 'select * from enrollments' is"),
    ],
)
def test_what_is_refused(hosted: Hosted, line: str, body: object, message: str) -> None:
    """400000 with what was expected; nothing is stored."""
    got = call(hosted, line, body)
    assert (got.status, got["errorCode"]) == (400, 400000)
    assert message in got.message
    assert hosted.store.do(lambda cloud: cloud.dps.enrollments()) == []


def test_policies_open_it(hosted: Hosted) -> None:
    """RegistryRead to look, RegistryWrite to change; another api-version is 400004."""
    assert call(hosted, "POST /enrollments/query", {}, policy="registryRead").status == 200
    assert call(hosted, "PUT /enrollments/d", BY_KEY, policy="registryRead").status == 403
    assert call(hosted, "DELETE /registrations/d", policy="registryRead").status == 403
    assert call(hosted, "GET /enrollments/d", policy="service").status == 403
    assert hosted.call("GET /enrollments/d", version="2021-10-01").status == 401
    assert hosted.call("GET /enrollments/d", version="1")["errorCode"] == 400004


def _owner(lab: Hosted) -> bytes:
    found = lab.store.do(lambda cloud: cloud.policies.get("iothubowner"))
    assert found is not None
    return found.keys[0]
