"""`skerry certificates`, with a certd, an identityd and an edged that answer what a test gives."""

import json
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from skerry.base.clock import SystemClock
from skerry.base.http import HttpError, Request, Response, Router
from skerry.base.log import get_logger
from skerry.base.server import Listener, Server
from skerry.base.sockets import bind_unix
from skerry.certs.renewal import RenewalPolicy
from skerry.check.certificates import Watched, row, watched
from skerry.cli.main import run

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "config"
KEY = ec.generate_private_key(ec.SECP256R1())
START, END = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
PUMP = "aziot-edged/module/pump:7:server"


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def pem(subject: str, issuer: str, end: datetime = END) -> str:
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(end)
        .sign(KEY, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


@contextmanager
def serving(folder: Path, service: str, router: Router) -> Iterator[None]:
    listener = Listener(service, bind_unix(folder / f"{service}.sock", mode=0o600), router)
    server = Server([listener], clock=SystemClock(), log=get_logger(service))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join()


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A device as `config apply` leaves it; its certificates are in the dictionary, by id."""
    held: dict[str, str] = {}
    certd, identityd = Router(["2020-09-01"]), Router(["2022-08-01"])

    def get(_request: Request, cert_id: str) -> Response:
        if cert_id not in held:
            raise HttpError(400, f"certificate {cert_id!r} does not exist")
        return Response.json({"pem": held[cert_id]})

    def modules(_request: Request) -> Response:
        spec = {"hubName": "h", "gatewayHost": "h", "deviceId": "d", "moduleId": "pump"}
        return Response.json({"identities": [{"type": "aziot", "spec": {**spec, "genId": "7"}}]})

    certd.add("GET", "/certificates/{cert_id}", get)
    identityd.add("GET", "/identities/modules", modules)
    for service in ("certd", "identityd", "edged"):
        folder = tmp_path / "etc" / service / "config.d"
        folder.mkdir(parents=True)
        text = (GOLDEN / "dps-x509-est-auto-renew" / f"{service}.toml").read_text()
        (folder / "00-super.toml").write_text(text)
    monkeypatch.setenv("SKERRY_RUN", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path, "certd", certd), serving(tmp_path, "identityd", identityd):
        yield held


LIST = ["certificates", "list", "--etc", "etc"]


def test_every_certificate_is_a_line(
    device: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Device identity, edge CA, EST identity and module servers; what is missing is said."""
    device |= {"device-id": pem("my-device", "site CA"), "aziot-edged-ca": pem("edge", "edge")}
    device |= {PUMP: pem("pump", "edge"), "est-server-ca-1": pem("site CA", "site CA")}
    assert run(LIST) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    shown = [[cell.strip() for cell in line if cell] for line in lines]
    century = "2100-01-01T00:00:00Z"
    # 50 % and, of the edge CA, 80 % of the 36525 days from 2000 to 2100
    half, renewal = "2049-12-31T12:00:00Z", "2080-01-01T00:00:00Z"
    assert shown[0] == ["ROLE", "STATE", "SUBJECT", "ISSUER", "EXPIRES", "NEXT RENEWAL"]
    assert ["device identity", "valid", "CN=my-device", "CN=site CA", century, half] in shown
    assert ["edge CA", "valid", "CN=edge", "CN=edge", century, renewal] in shown
    assert ["server of pump", "valid", "CN=pump", "CN=edge", century, "-"] in shown
    assert ["EST identity", "missing", "-", "-", "-", "-"] in shown
    assert ["preloaded", "valid", "CN=site CA", "CN=site CA", century, "-"] in shown


def test_an_expired_certificate_fails(
    device: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, and in JSON why; a certificate that nobody has made yet is no failure."""
    device["device-id"] = pem("my-device", "my-device", datetime(2001, 1, 1, tzinfo=UTC))
    device["aziot-edged-ca"] = "no certificate"
    assert run([*LIST, "--output", "json"]) == 1
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["certificates"]}
    assert rows["device-id"] == {
        "id": "device-id",
        "role": "device identity",
        "subject": "CN=my-device",
        "issuer": "CN=my-device",
        "not_before": "2000-01-01T00:00:00Z",
        "not_after": "2001-01-01T00:00:00Z",
        "next_renewal": "2000-07-02T00:00:00Z",
        "state": "expired",
        "problem": None,
    }
    assert rows["aziot-edged-ca"]["state"] == "unreadable"
    assert rows[PUMP]["state"] == "missing"
    assert rows[PUMP]["problem"] == f"certificate {PUMP!r} does not exist"


def test_without_a_configuration_there_is_nothing_to_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says what to do; exit status 1."""
    assert run(["certificates", "list", "--etc", str(tmp_path)]) == 1
    said = "skerry: this device has no configuration; see: skerry config apply\n"
    assert capsys.readouterr().err == said


def test_settings_that_cannot_be_read_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With their path, and exit status 1."""
    (tmp_path / "certd").mkdir()
    (tmp_path / "certd" / "config.toml").write_text("=")
    assert run(["certificates", "list", "--etc", str(tmp_path)]) == 1
    assert f"settings file {tmp_path}/certd/config.toml" in capsys.readouterr().err


def test_a_device_without_identity_lists_what_it_has(
    device: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """identityd may not know its modules yet; the other certificates are shown all the same."""
    Path("identityd.sock").unlink()
    assert run(LIST) == 0
    printed = capsys.readouterr()
    assert "server of" not in printed.out
    assert printed.err.startswith("skerry: the modules are not known: ")


def test_a_certificate_from_a_clock_that_was_ahead() -> None:
    """It is not valid yet, which is neither valid nor expired."""
    now = datetime(1999, 1, 1, tzinfo=UTC)
    assert row(Watched("a", "b", RenewalPolicy()), pem("a", "a").encode(), now).state == (
        "not yet valid"
    )


@pytest.mark.parametrize("case", sorted(path.name for path in GOLDEN.iterdir()))
def test_every_configuration_has_its_certificates(case: str) -> None:
    """The edge CA always, a device certificate where the device has one, each id once."""
    certd, identityd, edged = (
        tomllib.loads((GOLDEN / case / f"{service}.toml").read_text())
        for service in ("certd", "identityd", "edged")
    )
    found = watched(certd, identityd, edged, {})
    ids = [one.cert_id for one in found]
    assert "aziot-edged-ca" in ids
    assert ("device-id" in ids) == ("identity_cert" in str(identityd))
    assert len(ids) == len(set(ids))
    for one in found:
        own = one.cert_id in certd.get("preloaded_certs", {})
        assert not (own and one.policy is not None), one


@contextmanager
def bundled(folder: Path, monkeypatch: pytest.MonkeyPatch, bundle: str | None) -> Iterator[None]:
    """An edged whose trust bundle is given."""
    router = Router(["2022-08-03"])

    def answer(_request: Request) -> Response:
        if bundle is None:
            raise HttpError(404, "there is no trust bundle")
        return Response.json({"certificate": bundle})

    router.add("GET", "/trust-bundle", answer)
    monkeypatch.setenv("SKERRY_RUN", str(folder))
    with serving(folder, "workload", router):
        yield


def test_what_leaf_devices_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output is a file for a device SDK, standard error says whom it trusts."""
    bundle = pem("edge", "edge") + "\n# of the site\n" + pem("site CA", "site CA")
    with bundled(tmp_path, monkeypatch, bundle):
        assert run(["certificates", "trust"]) == 0
        told = capsys.readouterr()
        assert run(["certificates", "trust", "--output", "json"]) == 0
    subjects = [one.subject for one in x509.load_pem_x509_certificates(told.out.encode())]
    assert subjects == [name("edge"), name("site CA")]
    edge, _site = told.err.splitlines()
    sha256 = x509.load_pem_x509_certificate(told.out.encode()).fingerprint(hashes.SHA256()).hex()
    assert edge == f"CN=edge, until 2100-01-01T00:00:00Z, SHA-256 {sha256}"
    rows = json.loads(capsys.readouterr().out)["certificates"]
    assert "".join(one.pop("pem") for one in rows) == told.out
    assert rows[0] == {"subject": "CN=edge", "not_after": "2100-01-01T00:00:00Z", "sha256": sha256}


@pytest.mark.parametrize(
    ("bundle", "said"),
    [
        (None, "there is no trust bundle; the device makes it with its identity"),
        ("nothing", "the trust bundle cannot be read: "),
    ],
)
def test_without_a_trust_bundle_nothing_is_printed(
    bundle: str | None,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The reason is told, with exit status 1."""
    with bundled(tmp_path, monkeypatch, bundle):
        assert run(["certificates", "trust"]) == 1
    told = capsys.readouterr()
    assert (told.out, said in told.err) == ("", True)


def test_without_edged_nothing_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says where to look; exit status 1."""
    monkeypatch.setenv("SKERRY_RUN", str(tmp_path))
    assert run(["certificates", "trust"]) == 1
    assert "is edged running? see: skerry system status" in capsys.readouterr().err
