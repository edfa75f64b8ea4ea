"""DPS over HTTPS by symmetric key, and what becomes of a registration (azure-iot-edge.md §8.1)."""

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.lab import HUB, Got, Hosted
from skerry.wire import sas
from skerry_lab.dps.model import (
    Allocation,
    Attestation,
    Enrollment,
    Reprovision,
    checked,
)
from skerry_lab.dps.service import DpsSettings
from skerry_lab.errors import LabError

KEY = b"k" * 32
SECOND = b"s" * 32
ENROLLMENT = Enrollment(
    "dev1",
    Attestation.SYMMETRIC_KEY,
    primary_key=base64.b64encode(KEY).decode(),
    secondary_key=base64.b64encode(SECOND).decode(),
)

MakeHosted = Callable[[DpsSettings], Hosted]


def enrol(lab: Hosted, enrollment: Enrollment = ENROLLMENT) -> None:
    lab.store.do(lambda cloud: cloud.dps.put_enrollment(checked(enrollment)))


def register(
    lab: Hosted, name: str = "dev1", key: bytes = KEY, payload: object = None, **more: str
) -> Got:
    token = more.get("token") or lab.token(f"{lab.scope}/registrations/{name}", key, "registration")
    body: dict[str, object] = {"registrationId": name}
    if payload is not None:
        body["payload"] = payload
    return lab.call(f"PUT /{lab.scope}/registrations/{name}/register", body, token=token)


def poll(lab: Hosted, operation: object, name: str = "dev1", key: bytes = KEY) -> Got:
    token = lab.token(f"{lab.scope}/registrations/{name}", key, "registration")
    return lab.call(f"GET /{lab.scope}/registrations/{name}/operations/{operation}", token=token)


def outcome(
    lab: Hosted, name: str = "dev1", key: bytes = KEY, payload: object = None
) -> dict[str, object]:
    """Register, poll and return the registration state."""
    begun = register(lab, name, key, payload)
    assert begun.status == 202, begun
    done = poll(lab, begun["operationId"], name, key)
    assert done.status == 200, done
    state = done["registrationState"]
    assert isinstance(state, dict)
    assert state["status"] == done["status"]
    return state


def test_a_device_is_assigned(hosted: Hosted) -> None:
    """Register is 202 with Retry-After, the poll says hub and device, and the key works there."""
    enrol(hosted)
    begun = register(hosted)
    assert (begun.status, begun["status"], begun.headers["retry-after"]) == (202, "assigning", "0")
    state = poll(hosted, begun["operationId"])["registrationState"]
    assert isinstance(state, dict)
    wanted = {
        "status": "assigned",
        "assignedHub": HUB,
        "deviceId": "dev1",
        "registrationId": "dev1",
    }
    assert state.items() >= {**wanted, "substatus": "initialAssignment"}.items()
    token = hosted.token(f"{HUB}/devices/dev1", KEY)
    got = hosted.call("GET /devices/dev1/modules", token=token, version="2017-11-08-preview")
    assert got.status == 200


def test_the_device_id_may_differ(hosted: Hosted) -> None:
    """An individual enrolment may name the device."""
    enrol(hosted, replace(ENROLLMENT, device_id="Pump-1"))
    assert outcome(hosted)["deviceId"] == "Pump-1"


def test_a_group_derives_its_keys(hosted: Hosted) -> None:
    """The key of a device of a group is the HMAC of its registration id; both group keys count."""
    enrol(hosted, replace(ENROLLMENT, enrollment_id="site-a", group=True))
    for name, group_key in (("dev1", KEY), ("dev2", SECOND)):
        key = sas.device_key(group_key, name)
        state = outcome(hosted, name, key)
        assert state["status"] == "assigned"
        assert state["symmetricKey"] == {"enrollmentGroupId": "site-a"}
        token = hosted.token(f"{HUB}/devices/{name}", key)
        line = f"GET /devices/{name}/modules"
        assert hosted.call(line, token=token, version="2017-11-08-preview").status == 200
    assert register(hosted, "dev3", sas.device_key(KEY, "dev1")).status == 401


def test_an_individual_enrolment_goes_before_the_group(hosted: Hosted) -> None:
    """A disabled individual enrolment keeps a device out that its group would let in."""
    enrol(hosted, replace(ENROLLMENT, enrollment_id="site-a", group=True))
    enrol(hosted, replace(ENROLLMENT, enabled=False))
    assert outcome(hosted)["status"] == "disabled"
    assert register(hosted, key=sas.device_key(KEY, "dev1")).status == 401


def test_a_device_is_assigning_first(hosted_with: MakeHosted) -> None:
    """While an assignment takes its time the poll is 202 with Retry-After."""
    lab = hosted_with(DpsSettings(assign_after_seconds=5, poll_after_seconds=2))
    enrol(lab)
    operation = register(lab)["operationId"]
    early = poll(lab, operation)
    assert (early.status, early["status"], early.headers["retry-after"]) == (202, "assigning", "5")
    lab.clock.move(4)
    assert poll(lab, operation).headers["retry-after"] == "2"
    lab.clock.move(1)
    assert poll(lab, operation)["status"] == "assigned"


def test_no_hub_leaves_it_unassigned(hosted: Hosted) -> None:
    """Without a linked hub the state is `unassigned`, and no device is made."""
    enrol(hosted)
    hosted.store.do(lambda cloud: cloud.dps.set_hubs([]))
    assert outcome(hosted)["status"] == "unassigned"
    assert hosted.store.do(lambda cloud: cloud.registry.store.device("dev1")) is None


def test_a_hub_that_is_not_linked_fails(hosted: Hosted) -> None:
    """A static enrolment for another hub ends as `failed` with code and text."""
    enrol(hosted, replace(ENROLLMENT, allocation=Allocation.STATIC, hub="other.example"))
    state = outcome(hosted)
    assert (state["status"], state["errorCode"]) == ("failed", 400208)
    assert state["errorMessage"] == "IoT hub 'other.example' is not linked to this service"


def test_hubs_are_chosen_by_policy(hosted: Hosted) -> None:
    """`static` takes the hub named, `geoLatency` the first, `hashed` spreads and stays the same."""
    hosted.store.do(lambda cloud: cloud.dps.set_hubs(["a.example", "b.example"]))
    enrol(hosted, replace(ENROLLMENT, allocation=Allocation.STATIC, hub="b.example"))
    assert outcome(hosted)["assignedHub"] == "b.example"
    enrol(hosted, replace(ENROLLMENT, allocation=Allocation.GEO_LATENCY))
    assert outcome(hosted)["assignedHub"] == "a.example"
    enrol(hosted, replace(ENROLLMENT, enrollment_id="g", group=True))
    hosted.store.do(lambda cloud: cloud.dps.delete_enrollment("dev1", group=False))

    def hub(name: str) -> object:
        return outcome(hosted, name, sas.device_key(KEY, name))["assignedHub"]

    first = {f"dev{n}": hub(f"dev{n}") for n in range(16)}
    assert set(first.values()) == {"a.example", "b.example"}
    assert {name: hub(name) for name in first} == first


@pytest.mark.parametrize(
    ("policy", "hub", "substatus", "same"),
    [
        (Reprovision.KEEP, "a.example", "initialAssignment", True),
        (Reprovision.MIGRATE, "b.example", "deviceDataMigrated", True),
        (Reprovision.RESET, "b.example", "deviceDataReset", False),
    ],
)
def test_registering_again_follows_the_policy(
    hosted: Hosted, policy: Reprovision, hub: str, substatus: str, same: bool
) -> None:
    """`keep` stays on its hub, `migrate` moves with its data, `reset` is a new device."""
    hosted.store.do(lambda cloud: cloud.dps.set_hubs(["a.example", "b.example"]))
    to = replace(ENROLLMENT, allocation=Allocation.STATIC, reprovision=policy)
    enrol(hosted, replace(to, hub="a.example"))
    first = outcome(hosted)
    before = hosted.registry.device("dev1").generation_id
    hosted.clock.move(60)
    enrol(hosted, replace(to, hub="b.example"))
    again = outcome(hosted)
    after = hosted.registry.device("dev1").generation_id
    assert (again["assignedHub"], again["substatus"]) == (hub, substatus)
    assert again["createdDateTimeUtc"] == first["createdDateTimeUtc"]
    assert (before == after) is same


def test_an_unchanged_device_is_left_alone(hosted: Hosted) -> None:
    """Registering again changes no version of the device, and a new key replaces the old one."""
    enrol(hosted)
    outcome(hosted)
    before = hosted.registry.device("dev1")
    outcome(hosted)
    assert hosted.registry.device("dev1") == before
    enrol(hosted, replace(ENROLLMENT, primary_key=base64.b64encode(b"n" * 32).decode()))
    outcome(hosted, key=b"n" * 32)
    assert hosted.registry.device("dev1").authentication.keys[0] == b"n" * 32


def test_payloads(hosted: Hosted) -> None:
    """The enrolment's payload goes back to the device, or its own with `echo`; else none."""
    enrol(hosted)
    assert "payload" not in outcome(hosted, payload={"model": "x"})
    enrol(hosted, replace(ENROLLMENT, payload={"site": 7}))
    assert outcome(hosted, payload={"model": "x"})["payload"] == {"site": 7}
    enrol(hosted, replace(ENROLLMENT, echo=True))
    assert outcome(hosted, payload={"model": "x"})["payload"] == {"model": "x"}


def test_too_many_registrations_are_told_when_to_return(hosted_with: MakeHosted) -> None:
    """Beyond the quota the answer is 429001 with the seconds until there is room."""
    lab = hosted_with(DpsSettings(registrations_per_minute=2))
    enrol(lab)
    assert [register(lab).status for _ in range(2)] == [202, 202]
    lab.clock.move(20)
    got = register(lab)
    assert (got.status, got["errorCode"], got.headers["retry-after"]) == (429, 429001, "41")
    lab.clock.move(41)
    assert register(lab).status == 202


@pytest.mark.parametrize(
    ("key", "name", "seconds", "message"),
    [
        (b"x" * 32, "registration", 30, "signature does not match"),
        (KEY, "device", 30, "skn is 'device', expected 'registration'"),
        (KEY, "registration", -5, "token expired 5 s ago"),
    ],
)
def test_a_wrong_token_is_401002(
    hosted: Hosted, key: bytes, name: str, seconds: int, message: str
) -> None:
    """Another key, another key name or a token of the past are refused, with the reason."""
    enrol(hosted)
    token = hosted.token(f"{hosted.scope}/registrations/dev1", key, name, seconds)
    got = register(hosted, token=token)
    assert (got.status, got["errorCode"]) == (401, 401002)
    assert message in got.message
    assert got["trackingId"]


def test_a_token_needs_no_key_name(hosted: Hosted) -> None:
    """The Python SDK sends no skn."""
    enrol(hosted)
    assert (
        register(hosted, token=hosted.token(f"{hosted.scope}/registrations/dev1", KEY)).status
        == 202
    )


def test_other_mistakes_have_their_codes(hosted: Hosted) -> None:
    """Audience, scope, version, body, ids and operations each have their own answer."""
    enrol(hosted)
    path = f"PUT /{hosted.scope}/registrations/dev1/register"
    token = hosted.token(f"{hosted.scope}/registrations/dev1", KEY)
    other = hosted.token(f"{hosted.scope}/registrations/dev2", KEY)
    cases = [
        (401002, hosted.call(path, {}, token=other), "token is not for"),
        (401002, hosted.call(path, {}), "no Authorization header and no client certificate"),
        (401002, hosted.call(path, {}, token="Bearer x"), "not a shared access signature"),
        (404203, hosted.call("PUT /0neOther/registrations/dev1/register", {}), "not found"),
        (400004, hosted.call(path, {}, version="2016-01-01"), "api-version '2016-01-01'"),
        (400004, hosted.call(path, {}, version=None), "api-version None"),
        (400000, hosted.call(path, b"{", token=token), "the body is not JSON"),
        (400000, hosted.call(path, b"[" * 100_000, token=token), "the body is not JSON"),
        (400000, hosted.call(path, [], token=token), "the body is list"),
        (400000, hosted.call(path, {"registrationId": "x"}, token=token), "not the one in the"),
        (400000, hosted.call(path.replace("dev1", "a%20b"), {}), "registration id 'a b'"),
        (404202, poll(hosted, "none"), "operation not found; register again"),
        (404201, hosted.call(path.replace("dev1", "dev2"), {}, token=other), "no enrollment"),
        (404201, hosted.call(path, {"tpm": {}}), "no enrollment found for this TPM"),
    ]
    for code, got, message in cases:
        assert (got.status, got["errorCode"]) == (code // 1000, code), got
        assert message in got.message
    assert hosted.call(path.replace("PUT", "DELETE")).status == 405


def test_an_operation_belongs_to_its_device_and_ends(hosted: Hosted) -> None:
    """Another device cannot read it, and after its lifetime nobody can."""
    enrol(hosted)
    enrol(hosted, replace(ENROLLMENT, enrollment_id="dev2"))
    operation = register(hosted)["operationId"]
    assert poll(hosted, operation, "dev2")["errorCode"] == 404202
    assert poll(hosted, operation).status == 200
    hosted.clock.move(3601)
    assert poll(hosted, operation)["errorCode"] == 404202
    register(hosted)
    assert hosted.store.do(lambda cloud: cloud.dps.operation(str(operation))) is None


def test_ids_have_no_case(hosted: Hosted) -> None:
    """Registration ids and scopes are compared without regard to case."""
    enrol(hosted)
    assert outcome(hosted, "DEV1")["status"] == "assigned"


@pytest.mark.parametrize(
    ("enrollment", "message"),
    [
        (replace(ENROLLMENT, enrollment_id="a b"), "registration id 'a b' is not valid"),
        (replace(ENROLLMENT, enrollment_id="x."), "with a letter, digit or - at the end"),
        (replace(ENROLLMENT, primary_key="!"), "a key is not valid, expected 16 to 64 bytes"),
        (replace(ENROLLMENT, group=True, device_id="d"), "a group has no device id"),
        (Enrollment("d", Attestation.X509), "an X.509 enrolment needs a certificate"),
        (Enrollment("d", Attestation.X509, certificates=("x",)), "the text is not a certificate"),
        (Enrollment("d", Attestation.TPM, group=True), "a TPM is enrolled alone"),
        (
            Enrollment("d", Attestation.TPM, endorsement_key="?"),
            "the endorsement key ends early",
        ),
    ],
)
def test_an_enrolment_that_cannot_work_is_refused(enrollment: Enrollment, message: str) -> None:
    """What no device could ever use is refused when it is made."""
    with pytest.raises(LabError, match=message):
        checked(enrollment)


@pytest.fixture
def hosted_with(tmp_path: Path, request: pytest.FixtureRequest) -> MakeHosted:
    def make(settings: DpsSettings) -> Hosted:
        made = Hosted(tmp_path / "lab", settings)
        request.addfinalizer(made.store.close)
        return made

    return make
