"""certd as an EST client: against a server that speaks the real protocol over TLS."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from fakes.est import PKCS7, EstServer, certs_only, est_server, new_authority
from harness.services import Hosted, Services
from skerry.base.errors import SkerryError
from skerry.certs import pkcs7, x509
from skerry.certs.enrolment import Enrolment
from skerry.certs.errors import EstError, EstPendingError, ParameterError
from skerry.certs.est import retry_after
from skerry.certs.est_identity import EstIdentity
from skerry.certs.model import parse_settings
from skerry.certs.store import CertStore
from skerry.keys.client import KeysClient


@dataclass
class MovableClock:
    """Time that a test sets."""

    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


@dataclass
class Device:
    """The parts of certd that ask an EST server, with a keyd behind them."""

    folder: Path
    server: EstServer
    services: Services
    clock: MovableClock = field(default_factory=MovableClock)
    preloaded: dict[str, Path] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)

    @property
    def keys(self) -> KeysClient:
        return KeysClient(self.services.socket("keyd"))

    @property
    def store(self) -> CertStore:
        return CertStore(self.folder / "state", self.preloaded)

    def bring(self, cert_id: str, days: float = 30) -> None:
        """Bring a TLS client along that the server knows, as files."""
        certificate, key = self.server.client(cert_id, days)
        self.preloaded[cert_id] = self.folder / f"{cert_id}.pem"
        self.preloaded[cert_id].write_text(certificate)
        (self.folder / f"{cert_id}.key").write_text(key)

    def enrolment(self, **est: object) -> Enrolment:
        """Return the client for `device`, `other` and what their tables say."""
        (self.folder / "root.pem").write_text(self.server.root_pem)
        self.preloaded["root"] = self.folder / "root.pem"
        table = {"trusted_certs": ["root"], "urls": {"default": self.server.url}, **est}
        settings = parse_settings({"cert_issuance": {"est": table, "device": {"method": "est"}}})
        changed = lambda: self.changes.append("changed")  # noqa: E731
        return Enrolment(settings, self.store, self.keys, self.clock, None, changed)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device with a keyd, and an EST server that knows the login `user`."""
    services = Services(tmp_path / "services")
    with est_server(tmp_path) as server:
        server.logins["user"] = "pass:word"
        preloaded = "".join(
            f'{name} = "file://{tmp_path}/{name}.key"\n' for name in ("given", "bootstrap")
        )
        principal = f'[[principal]]\nuid = {os.getuid()}\nkeys = ["*"]\n'
        services.configure("keyd", f"[preloaded_keys]\n{preloaded}{principal}")
        services.host("keyd")
        yield Device(tmp_path, server, services)
        services.stop()


LOGIN = {"username": "user", "password": "pass:word"}
GIVEN = {"identity_cert": "given", "identity_pk": "given"}
BOOTSTRAP = {
    "identity_cert": "est-id",
    "identity_pk": "est-id",
    "bootstrap_identity_cert": "bootstrap",
    "bootstrap_identity_pk": "bootstrap",
}


def request(text: str = "device") -> bytes:
    """Return the request of a TLS client by a fresh key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return x509.client_request(x509.common_name(text), [text], key)


def identity_of(enrolment: Enrolment) -> EstIdentity:
    """Return the one identity that is renewed."""
    (job,) = enrolment.jobs()
    assert isinstance(job, EstIdentity)
    return job


def test_a_login_obtains_a_certificate(device: Device) -> None:
    """Basic login; the chain is leaf, issuing CA, root, whatever the order they came in."""
    chain = x509.load_chain(device.enrolment(**LOGIN).enrol("device", request()))
    assert [c.subject.rfc4514_string() for c in chain] == [
        "CN=device",
        "CN=EST issuing CA",
        "CN=EST root",
    ]
    chain[0].verify_directly_issued_by(chain[1])
    assert device.server.asked == [
        ("cacerts", "login user"),
        ("simpleenroll", "login user"),
    ]


def test_a_client_certificate_obtains_one_with_its_key_in_keyd(device: Device) -> None:
    """Mutual TLS: the private key of the certificate shown never leaves keyd."""
    device.bring("given")
    device.enrolment(**GIVEN).enrol("device", request())
    assert device.server.asked[-1] == ("simpleenroll", "certificate CN=given")


def test_a_bootstrap_identity_enrols_the_identity_first(device: Device) -> None:
    """It is used once; from then on the identity obtained with it is shown, also for the next."""
    device.bring("bootstrap")
    enrolment = device.enrolment(**BOOTSTRAP)
    assert identity_of(enrolment).due(None) is None
    enrolment.enrol("device", request())
    assert [who for what, who in device.server.asked if what == "simpleenroll"] == [
        "certificate CN=bootstrap",
        "certificate CN=bootstrap",
    ]
    held = x509.load_chain(device.store.get("est-id"))[0]
    shown = x509.load_chain(device.store.get("bootstrap"))[0]
    assert held.subject == shown.subject
    assert held.public_key() != shown.public_key()
    assert device.changes == ["changed"]
    again = device.enrolment(**BOOTSTRAP)
    again.enrol("device", request())
    assert x509.load_chain(device.store.get("est-id"))[0] == held


@pytest.mark.parametrize("rotate", [True, False])
def test_the_identity_renews_itself_in_time(device: Device, rotate: bool) -> None:
    """At four fifths of its life, by simplereenroll under itself; the key changes if it shall."""
    device.bring("bootstrap", days=3000)
    policy = {"rotate_key": rotate, "threshold": "80%", "retry": "4%"}
    enrolment = device.enrolment(**BOOTSTRAP, identity_auto_renew=policy)
    enrolment.enrol("device", request())
    job = identity_of(enrolment)
    before = x509.load_chain(device.store.get("est-id"))[0]
    due = job.due(None)
    assert due is not None
    assert timedelta(days=23) < due - before.not_valid_before_utc < timedelta(days=25)
    device.clock.time = device.server.now = due
    assert job.due(None) == due
    job.perform()
    after = x509.load_chain(device.store.get("est-id"))[0]
    assert device.server.asked[-1][0] == "simplereenroll"
    assert after.not_valid_after_utc > before.not_valid_after_utc
    assert after.subject == before.subject
    assert (after.public_key() != before.public_key()) is rotate
    enrolment.enrol("device", request())


def test_a_server_without_reenrolment_is_asked_for_a_new_one(device: Device) -> None:
    """simplereenroll is answered 404 by some; simpleenroll does the same under the identity."""
    device.bring("bootstrap", days=3000)
    enrolment = device.enrolment(**BOOTSTRAP)
    enrolment.enrol("device", request())
    device.server.instead["simplereenroll"] = (404, {}, b"")
    identity_of(enrolment).perform()
    assert [what for what, _ in device.server.asked[-2:]] == ["simplereenroll", "simpleenroll"]


def test_an_identity_that_expired_is_enrolled_anew(device: Device) -> None:
    """A device that was off for a year shows its bootstrap identity again."""
    device.bring("bootstrap", days=3000)
    enrolment = device.enrolment(**BOOTSTRAP)
    enrolment.enrol("device", request())
    old = x509.load_chain(device.store.get("est-id"))[0]
    device.clock.time += timedelta(days=365)
    device.server.now = device.clock.time
    job = identity_of(enrolment)
    assert job.due(None) is not None
    job.perform()
    new = x509.load_chain(device.store.get("est-id"))[0]
    assert new.not_valid_before_utc > old.not_valid_after_utc


def test_what_cannot_be_shown_is_named(device: Device) -> None:
    """An identity that is missing or has expired is told by its id, with what to do."""
    device.bring("given", days=1)
    enrolment = device.enrolment(**GIVEN)
    device.clock.time += timedelta(days=3)
    with pytest.raises(EstError, match=r"certificate 'given', shown to the EST server, is valid"):
        enrolment.enrol("device", request())
    device.preloaded["given"].unlink()
    with pytest.raises(EstError, match="there is no certificate 'given' to show"):
        enrolment.enrol("device", request())
    del device.preloaded["given"]
    with pytest.raises(EstError, match="'given' is not there or not valid now; bring a new one"):
        device.enrolment(**GIVEN).enrol("device", request())


def test_a_request_put_off_is_not_asked_early(device: Device) -> None:
    """202 with Retry-After: the server is left alone until then, and asked again after it."""
    enrolment = device.enrolment(**LOGIN)
    device.server.instead["simpleenroll"] = (202, {"Retry-After": "600"}, b"")
    csr = request()
    for _ in range(2):
        with pytest.raises(EstPendingError, match="asks to be asked again in 600 s"):
            enrolment.enrol("device", csr)
    assert len(device.server.asked) == 2
    device.clock.time += timedelta(seconds=601)
    del device.server.instead["simpleenroll"]
    enrolment.enrol("device", csr)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("99999999999999999999", 7 * 86400),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120),
        ("Thu, 01 Jan 2026 00:02:00", 120),
        ("Thu, 01 Jan 2020 00:00:00 GMT", 0),
        (None, 60),
        ("soon", 60),
        ("21 Oct 026 8:0333333333330", 60),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: int) -> None:
    """A week at most, a minute where it says nothing."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after(text, now) == timedelta(seconds=seconds)


ANSWERS = [
    pytest.param("simpleenroll", (401, {}, b""), "refused enrolment: 401, the login", id="login"),
    pytest.param("simpleenroll", (403, {}, b""), "refused enrolment: 403", id="may not"),
    pytest.param("cacerts", (404, {}, b""), "refused cacerts: 404, not offered", id="no EST"),
    pytest.param(
        "simpleenroll",
        (400, {"Content-Type": "text/plain"}, b"no such\x07 device"),
        r"refused enrolment: 400 \('no such device'\)",
        id="with a reason",
    ),
    pytest.param(
        "cacerts", (200, {"Content-Type": "text/html"}, b"<html>"), "content-type 'text/html'",
        id="a web page",
    ),
    pytest.param(
        "simpleenroll", (200, {"Content-Type": PKCS7}, b"*"), "not base64", id="no base64"
    ),
    pytest.param(
        "simpleenroll", (200, {"Content-Type": PKCS7}, b"AAAA"), "no PKCS#7", id="no PKCS#7"
    ),
    pytest.param("simpleenroll", (200, {}, b""), "content-type ''", id="no type"),
    pytest.param(
        "cacerts", (200, {"Content-Type": PKCS7}, b"A" * 300_000), "more than 262144 bytes",
        id="too large",
    ),
    pytest.param("simpleenroll", (500, {}, b""), "refused enrolment: 500", id="server error"),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "answer", "message"), ANSWERS)
def test_a_wrong_answer_is_told(
    device: Device, operation: str, answer: tuple[int, dict[str, str], bytes], message: str
) -> None:
    """The server, what it was asked and what is wrong with the answer; nothing is stored."""
    device.server.instead[operation] = answer
    with pytest.raises(EstError, match=message) as caught:
        device.enrolment(**LOGIN).enrol("device", request())
    assert "pass:word" not in str(caught.value)
    assert device.store.find("device") is None


def test_a_truncated_answer_is_told(device: Device) -> None:
    """PKCS#7 cut at any length is an error, never a crash or a shorter chain."""
    whole = certs_only(device.server.issuing.certificate)
    for length in range(0, len(whole) - 4, 97):
        body = whole[:length]
        device.server.instead["simpleenroll"] = (200, {"Content-Type": PKCS7}, body)
        with pytest.raises(EstError, match="answered enrolment with"):
            device.enrolment(**LOGIN).enrol("device", request())


def test_a_certificate_for_another_key_is_refused(device: Device) -> None:
    """Whoever has the private key of it, it is not us."""
    body = certs_only(device.server.issuing.certificate)
    device.server.instead["simpleenroll"] = (200, {"Content-Type": PKCS7}, body)
    with pytest.raises(EstError, match="with a certificate for another key"):
        device.enrolment(**LOGIN).enrol("device", request())


def test_a_certificate_that_expired_is_refused(device: Device) -> None:
    """The message asks about the clock: the server's own is likely right."""
    device.clock.time += timedelta(days=100)
    with pytest.raises(EstError, match=r"expired .*; is this device's clock right\?"):
        device.enrolment(**LOGIN).enrol("device", request())


def test_a_server_that_is_not_trusted_gets_no_login(device: Device) -> None:
    """TLS decides before anything is sent."""
    enrolment = device.enrolment(**LOGIN)
    (device.folder / "root.pem").write_text(device.server.client("stranger")[0].split("\n\n")[0])
    with pytest.raises(EstError, match="certificate is not trusted"):
        enrolment.enrol("device", request())
    assert device.server.asked == []
    (device.folder / "root.pem").unlink()
    with pytest.raises(EstError, match="no certificate 'root', which cert_issuance"):
        enrolment.enrol("device", request())


def test_a_server_that_is_away_is_told(device: Device) -> None:
    """The address is named."""
    nowhere = {"default": "https://127.0.0.1:1/.well-known/est"}
    with pytest.raises(EstError, match=r"EST: 127\.0\.0\.1:1 cannot be reached"):
        device.enrolment(**LOGIN, urls=nowhere).enrol("device", request())


def test_each_certificate_may_have_its_own_server(device: Device) -> None:
    """Its url, else that of its id, also while it is renewed, else the default; none is told."""
    nowhere = "https://127.0.0.1:1/est"
    urls = {"default": nowhere, "device": device.server.url}
    enrolment = device.enrolment(**LOGIN, urls=urls)
    enrolment.enrol("device", request())
    enrolment.enrol("device-temp", request())
    with pytest.raises(ParameterError, match=r"cert_issuance\.device wants est, but has no url"):
        device.enrolment(**LOGIN, urls={}).enrol("device", request())


def test_certd_answers_with_the_certificate_or_the_reason(device: Device) -> None:
    """201 with the chain, 502 with what the server did, 503 while it makes up its mind."""
    certd = host_certd(device)
    uid = os.getuid()
    body = {"certId": "device", "csr": request().decode()}
    status, answer = certd.call(uid, "POST /certificates", body)
    assert (status, isinstance(answer, dict) and set(answer)) == (201, {"pem"})
    device.server.instead["simpleenroll"] = (202, {"Retry-After": "9"}, b"")
    status, message = certd.call(uid, "POST /certificates", body)
    assert (status, "asked again in 9 s" in str(message)) == (503, True)
    device.server.instead["cacerts"] = (500, {}, b"")
    status, message = certd.call(uid, "POST /certificates", {**body, "certId": "other"})
    assert (status, "refused cacerts: 500" in str(message)) == (502, True)


def test_a_local_ca_may_come_from_est(device: Device) -> None:
    """It signs what the settings say; one that is no CA is refused, and nothing is stored."""
    certd = host_certd(device)
    uid = os.getuid()
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.ca_request(x509.common_name("edge"), key).decode()
    body = {"certId": "aziot-edged-ca", "csr": csr}
    wrong = certs_only(device.server.root.certificate)
    device.server.instead["simpleenroll"] = (200, {"Content-Type": PKCS7}, wrong)
    assert certd.call(uid, "POST /certificates", body)[0] == 502
    del device.server.instead["simpleenroll"]
    status, answer = certd.call(uid, "POST /certificates", body)
    assert status == 201
    assert isinstance(answer, dict)
    chain = x509.load_chain(answer["pem"].encode())
    assert [c.subject.rfc4514_string() for c in chain] == [
        "CN=edge",
        "CN=local-ca",
        "CN=EST issuing CA",
        "CN=EST root",
    ]


def host_certd(device: Device) -> Hosted:
    """Run certd with `device`, `other` and `local-ca` by EST."""
    (device.folder / "root.pem").write_text(device.server.root_pem)
    device.services.configure(
        "certd",
        f"""
        [cert_issuance]
        device.method = "est"
        other.method = "est"
        local-ca.method = "est"
        aziot-edged-ca.method = "local_ca"
        local_ca = {{ cert = "local-ca", pk = "local-ca" }}
        [cert_issuance.est]
        trusted_certs = ["root"]
        username = "user"
        password = "pass:word"
        urls.default = "{device.server.url}"
        [preloaded_certs]
        root = "{device.folder}/root.pem"
        [[principal]]
        uid = {os.getuid()}
        certs = ["*"]
        """,
    )
    return device.services.host("certd")


def test_a_key_that_keyd_does_not_give_ends_the_handshake(device: Device) -> None:
    """The message says that it is the key."""
    device.bring("given")
    enrolment = device.enrolment(**GIVEN)
    (device.folder / "given.key").unlink()
    with pytest.raises(SkerryError, match="there is no key 'given'"):
        enrolment.enrol("device", request())


def test_a_chain_without_its_issuer_is_what_was_sent(device: Device) -> None:
    """Certificates that lead nowhere follow the leaf; one of the issuer's name proves nothing."""
    other = new_authority("EST issuing CA", datetime.now(UTC) - timedelta(days=1))
    body = certs_only(other.certificate)
    device.server.instead["cacerts"] = (200, {"Content-Type": PKCS7}, body)
    chain = x509.load_chain(device.enrolment(**LOGIN).enrol("device", request()))
    assert [c.subject.rfc4514_string() for c in chain] == ["CN=device", "CN=EST issuing CA"]
    with pytest.raises(InvalidSignature):
        chain[0].verify_directly_issued_by(chain[1])


def test_too_many_certificates_are_refused(device: Device) -> None:
    """A bound on what has to be stored and sent on."""
    body = certs_only(*[device.server.issuing.certificate] * 33)
    device.server.instead["cacerts"] = (200, {"Content-Type": PKCS7}, body)
    with pytest.raises(EstError, match="33 certificates, expected 1 to 32"):
        device.enrolment(**LOGIN).enrol("device", request())


def test_the_bound_on_bytes_holds_without_a_connection() -> None:
    """Whoever fetched them."""
    with pytest.raises(EstError, match="300000 bytes, expected at most 262144"):
        pkcs7.certificates(PKCS7, b"A" * 300_000)
