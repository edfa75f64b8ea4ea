"""DPS and hub as a client in the field meets them: slow, in trouble, wrong, at another time."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.https_server import Served, connect_proxy, https_server
from skerry.base.https import Proxy
from skerry.base.log import get_logger
from skerry.provisioning.cloud import Cloud, Reach, describe_offset
from skerry.provisioning.credential import SasCredential
from skerry.provisioning.dps import Assignment, Dps, Registration
from skerry.provisioning.errors import (
    AnswerError,
    ConflictError,
    LaterError,
    MissingError,
    OfflineError,
    ProvisioningError,
    RefusedError,
)
from skerry.provisioning.hub import HubModule, HubRegistry
from skerry.wire import sas

ASSIGNED = {"registrationState": {"assignedHub": "hub.example", "deviceId": "d"}}
WAITING = {"operationId": "op 1", "status": "assigning"}


@dataclass
class SetClock:
    """Time that moves when somebody waits."""

    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    waits: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += timedelta(seconds=seconds)


def answer(status: int, body: object = None, **headers: str) -> bytes:
    """Return the bytes of an HTTP answer; `retry_after="3"` is the header Retry-After."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


@dataclass
class Site:
    """A server that answers from a list, and the client that asks it."""

    served: Served
    clock: SetClock
    cloud: Cloud
    dps: Dps
    credential: SasCredential

    def register(self, limit_seconds: float = 60) -> Assignment:
        return self.dps.register(self.credential, limit_seconds)

    def lines(self) -> list[str]:
        return [request.split(b"\r\n")[0].decode() for request in self.served.received]


MakeSite = Callable[..., AbstractContextManager[Site]]


@pytest.fixture
def site(tmp_path: Path) -> MakeSite:
    @contextmanager
    def make(*answers: bytes, retries: int = 1, payload: object = None) -> Iterator[Site]:
        left = list(answers)
        with https_server(tmp_path, lambda _: left.pop(0)) as served:
            clock = SetClock()
            reach = Reach(retries=retries, timeout_seconds=10, roots=lambda: [served.root_pem])
            cloud = Cloud(reach, clock, get_logger("test"), clock.pause)
            endpoint = f"https://localhost:{served.port}/"
            registration = Registration(endpoint, "0ne1", "d/1", payload)
            dps = Dps(cloud, registration, clock, clock.pause)
            credential = SasCredential(registration.audience, lambda _: b"s" * 32, "registration")
            yield Site(served, clock, cloud, dps, credential)

    return make


def test_it_registers_waits_and_is_assigned(site: MakeSite) -> None:
    """The server's pauses are kept, ids are encoded, the payload goes along."""
    done = {**ASSIGNED, "status": "assigned"}
    done["registrationState"] = {**ASSIGNED["registrationState"], "payload": [1]}
    with site(
        answer(202, WAITING, retry_after="3"),
        answer(202, WAITING),
        answer(200, done),
        payload={"model": 7},
    ) as made:
        assert made.register() == Assignment("hub.example", "d", [1])
        assert made.clock.waits == [3.0, 2.0]
        put, first, _ = made.lines()
        assert put == "PUT /0ne1/registrations/d%2F1/register?api-version=2021-06-01 HTTP/1.1"
        assert first.startswith("GET /0ne1/registrations/d%2F1/operations/op%201?api-version")
        sent = json.loads(made.served.received[0].partition(b"\r\n\r\n")[2])
        assert sent == {"registrationId": "d/1", "payload": {"model": 7}}


def test_a_long_assignment_is_gone_on_with(site: MakeSite) -> None:
    """When the caller's time is up the next call asks for the same operation."""
    with site(
        answer(202, WAITING, retry_after="30"),
        answer(202, WAITING, retry_after="30"),
        answer(200, {**ASSIGNED, "status": "assigned"}),
    ) as made:
        with pytest.raises(LaterError, match="still assigning") as caught:
            made.register(40)
        assert caught.value.wait_seconds == 30
        assert made.register(40).device_id == "d"
        assert [line.split()[0] for line in made.lines()] == ["PUT", "GET", "GET"]


def test_an_operation_that_dps_forgot_is_begun_anew(
    site: MakeSite,
) -> None:
    """404 for an operation ends it; the next call registers."""
    with site(
        answer(202, WAITING, retry_after="30"),
        answer(404, {"errorCode": 404204, "message": "no operation"}),
        answer(202, {**ASSIGNED, "status": "assigned"}),
    ) as made:
        with pytest.raises(LaterError):
            made.register(1)
        with pytest.raises(MissingError, match=r"404: no operation \(404204\)"):
            made.register(1)
        assert made.register(1).hub_name == "hub.example"


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ({"status": "disabled", "operationId": "1"}, RefusedError, "enable it at DPS"),
        ({"status": "unassigned", "operationId": "1"}, RefusedError, "no hub"),
        (
            {
                "status": "failed",
                "operationId": "1",
                "registrationState": {"errorCode": 400208, "errorMessage": "no such hub"},
            },
            RefusedError,
            r"no such hub \(400208\)",
        ),
        ({"status": "dancing", "operationId": "1"}, AnswerError, "'dancing', which is not known"),
        ({"status": "assigned", "registrationState": {}}, AnswerError, "without naming hub"),
        ({"status": "assigned", "registrationState": 7}, AnswerError, "is no object"),
        ({"status": "assigning"}, AnswerError, "without an operationId"),
        ([], AnswerError, "without a JSON object"),
        (b"<html>", AnswerError, "something not JSON"),
        (b"[" * 100_000, AnswerError, "something not JSON"),
    ],
)
def test_what_is_no_assignment_is_told(
    site: MakeSite,
    body: object,
    error: type[ProvisioningError],
    message: str,
) -> None:
    """Each end that DPS knows has its own words, and nonsense is named."""
    with site(answer(200, body)) as made, pytest.raises(error, match=message):
        made.register()


@pytest.mark.parametrize(
    ("got", "error", "message"),
    [
        (answer(401, {"message": "bad signature"}), RefusedError, "401: bad signature"),
        (answer(403, {"Message": "quota"}), RefusedError, "403: quota"),
        (answer(404, {"errorMessage": "who?"}), MissingError, "404: who\\?"),
        (answer(409, b"taken\x1b[2J"), ConflictError, r"409: taken \[2J"),
        (answer(400), RefusedError, "no reason given"),
        (answer(429, retry_after="77"), LaterError, "429"),
        (answer(302, location="https://elsewhere/"), RefusedError, "answered 302"),
    ],
)
def test_a_refusal_is_final(
    site: MakeSite,
    got: bytes,
    error: type[ProvisioningError],
    message: str,
) -> None:
    """It is not asked again, and the server's words are passed on, made printable."""
    with site(got) as made:
        with pytest.raises(error, match=message) as caught:
            made.register()
        assert len(made.served.received) == 1
        if isinstance(caught.value, LaterError):
            assert caught.value.wait_seconds == 77


@pytest.mark.parametrize("header", ["600", "Fri, 01 Jan 2100 00:00:00 GMT", "soon", "-5", "1e400"])
def test_a_server_in_trouble_is_tried_again_and_obeyed(site: MakeSite, header: str) -> None:
    """Two tries with a pause; then its Retry-After in whatever form, an hour at most."""
    with site(*[answer(503, retry_after=header)] * 2) as made:
        with pytest.raises(OfflineError, match="answered 503") as caught:
            made.register()
        assert made.clock.waits == [3.0]
        if isinstance(caught.value, LaterError):
            assert 0 <= caught.value.wait_seconds <= 3600


def test_trouble_that_passes_is_not_noticed(site: MakeSite) -> None:
    """A server that was away for a moment costs one pause."""
    with site(b"", answer(200, {**ASSIGNED, "status": "assigned"})) as made:
        assert made.register().device_id == "d"
        assert made.clock.waits == [3.0]


@pytest.mark.parametrize(
    ("off", "words"),
    [
        (timedelta(minutes=-10), "10 minutes behind"),
        (timedelta(days=-731), "2 years behind"),
        (timedelta(hours=30), "30 hours ahead"),
    ],
)
def test_a_wrong_clock_is_named_and_got_round(
    site: MakeSite,
    caplog: pytest.LogCaptureFixture,
    off: timedelta,
    words: str,
) -> None:
    """The token is made again with the server's time, and the log says how wrong the clock is."""
    now = datetime.now(UTC)
    date = now.strftime("%a, %d %b %Y %H:%M:%S GMT")
    done = answer(200, {**ASSIGNED, "status": "assigned"}, date=date)
    with site(answer(401, {"message": "expired"}, date=date), done) as made:
        made.clock.time = now + off
        assert made.register().device_id == "d"
        headers = made.served.received[1].decode().split("\r\n")
        token = next(line for line in headers if line.startswith("Authorization: "))
        expires = sas.parse(token.removeprefix("Authorization: ")).expires
        assert abs(expires - (now.timestamp() + 3600)) < 5
        assert abs(made.cloud.behind_seconds - -off.total_seconds()) < 5
    assert any(words in message for message in caplog.messages)


def test_a_refused_token_is_not_blamed_on_a_clock_that_is_right(
    site: MakeSite,
) -> None:
    """401 with the right time is asked once."""
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    with site(answer(401, {"message": "no"}, date=date)) as made:
        with pytest.raises(RefusedError, match=r"401: no$"):
            made.register()
        assert len(made.served.received) == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(90, "90 seconds behind"), (-7200, "2 hours ahead"), (200_000, "2 days behind")],
)
def test_offsets_are_said_in_the_unit_that_fits(seconds: float, words: str) -> None:
    """People read minutes, hours, days and years."""
    assert describe_offset(seconds) == words


def test_a_proxy_is_the_way_to_dps(site: MakeSite) -> None:
    """With a proxy DPS is reached by CONNECT."""
    with (
        site(answer(200, {**ASSIGNED, "status": "assigned"})) as made,
        connect_proxy(made.served.port) as proxy,
    ):
        reach = Reach(
            proxy=Proxy(f"http://127.0.0.1:{proxy.port}"), roots=lambda: [made.served.root_pem]
        )
        cloud = Cloud(reach, made.clock, get_logger("test"), made.clock.pause)
        registration = Registration("https://server.example", "0ne1", "d")
        dps = Dps(cloud, registration, made.clock, made.clock.pause)
        assert dps.register(made.credential, 10).device_id == "d"
        assert proxy.received[0].startswith(b"CONNECT server.example:443 ")


class Tpm:
    """A TPM that remembers what it was given."""

    def __init__(self) -> None:
        self.imported: list[bytes] = []
        self.used: list[bytes] = []

    def tpm_keys(self) -> tuple[bytes, bytes]:
        return b"ek", b"srk"

    def import_auth_key(self, blob: bytes) -> None:
        self.imported.append(blob)

    def sign_with_auth_key(self, data: bytes) -> bytes:
        return b"t" * 32

    def sign_with_key(self, blob: bytes, data: bytes) -> bytes:
        self.used.append(blob)
        return b"t" * 32


def test_a_tpm_answers_the_riddle_and_keeps_the_hubs_key(
    site: MakeSite,
) -> None:
    """401 carries the registration key, which signs; the assignment the hub's, which is kept."""
    state = {**ASSIGNED["registrationState"], "tpm": {"authenticationKey": "aHVi"}}
    with site(
        answer(401, {"authenticationKey": "cmVn", "keyName": "registration"}),
        answer(200, {"status": "assigned", "registrationState": state}),
    ) as made:
        tpm = Tpm()
        assert made.dps.register_tpm(tpm, 10).device_id == "d"
        assert (tpm.used, tpm.imported) == ([b"reg"], [b"hub"])
        first, second = made.served.received
        assert b"Authorization" not in first
        assert b"skn=registration" in second
        body = json.loads(first.partition(b"\r\n\r\n")[2])
        assert body["tpm"] == {"endorsementKey": "ZWs=", "storageRootKey": "c3Jr"}


@pytest.mark.parametrize("last", [answer(200, {"status": "disabled"}), answer(503), answer(429)])
def test_a_failed_registration_leaves_the_hubs_key_in_the_tpm(site: MakeSite, last: bytes) -> None:
    """Until DPS has assigned the device anew its TPM signs for the hub that it has."""
    with site(answer(401, {"authenticationKey": "cmVn"}), last, retries=0) as made:
        tpm = Tpm()
        with pytest.raises(ProvisioningError):
            made.dps.register_tpm(tpm, 10)
        assert (tpm.used, tpm.imported) == ([b"reg"], [])


def test_a_long_assignment_of_a_tpm_is_gone_on_with(site: MakeSite) -> None:
    """The next call signs with the same key; without one from the hub that key is kept."""
    with site(
        answer(401, {"authenticationKey": "cmVn"}),
        answer(202, WAITING, retry_after="30"),
        answer(200, {**ASSIGNED, "status": "assigned"}),
    ) as made:
        tpm = Tpm()
        with pytest.raises(LaterError):
            made.dps.register_tpm(tpm, 1)
        assert made.dps.register_tpm(tpm, 1).device_id == "d"
        assert (tpm.used, tpm.imported) == ([b"reg", b"reg"], [b"reg"])


@pytest.mark.parametrize(
    ("got", "error", "message"),
    [
        (answer(401, {"message": "unknown", "errorCode": 401002}), RefusedError, "skerry tpm show"),
        (answer(401, {"authenticationKey": "*"}), AnswerError, "not base64"),
        (answer(200, {}), AnswerError, "challenged by 401"),
    ],
)
def test_a_tpm_that_is_not_challenged_is_told_why(
    site: MakeSite,
    got: bytes,
    error: type[ProvisioningError],
    message: str,
) -> None:
    """An enrolment with another endorsement key is the usual reason; the message helps to see."""
    with site(got) as made, pytest.raises(error, match=message):
        made.dps.register_tpm(Tpm(), 10)


@pytest.mark.parametrize(
    ("got", "error", "message"),
    [
        (answer(200, {}), AnswerError, "without a list"),
        (answer(200, [{"moduleId": 1}]), AnswerError, "without moduleId"),
        (answer(200, {"networkError": True}), OfflineError, "parent of this device"),
    ],
)
def test_a_hub_that_makes_no_sense_is_named(
    site: MakeSite,
    got: bytes,
    error: type[ProvisioningError],
    message: str,
) -> None:
    """What is not the registry's shape is an error of the answer."""
    with site(got) as made:
        hub = HubRegistry(made.cloud, f"localhost:{made.served.port}", "d", made.credential)
        with pytest.raises(error, match=message):
            hub.all()


def test_module_names_are_encoded(site: MakeSite) -> None:
    """A name with a dollar sign, a slash or a percent sign reaches the hub as it is."""
    with site(answer(200, {"moduleId": "$a%/", "generationId": "g"})) as made:
        hub = HubRegistry(made.cloud, f"localhost:{made.served.port}", "d 1", made.credential)
        assert hub.get("$a%/") == HubModule("$a%/", "g")
        assert made.lines()[0].startswith("GET /devices/d%201/modules/%24a%25%2F?api-version=2017")
