"""tpmd over its real socket and TPM: every route, who may use it, and what it refuses."""

import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.services import Hosted, Services
from harness.swtpm import Swtpm
from skerry.base.client import ApiError, ServiceClient
from skerry.base.errors import SettingsError
from skerry.base.fields import b64
from skerry.base.log import Secret
from skerry.cli.main import run
from skerry.tpm.client import TpmClient
from skerry.tpm.model import Settings, parse_settings
from skerry.wire.tpm_credential import make_import_blob

IDENTITY = 13614


@pytest.fixture
def services(tpm: Swtpm, tmp_path: Path) -> Iterator[Services]:
    running = Services(tmp_path)
    principals = f"[[principal]]\nuid = {IDENTITY}\n[[principal]]\nuid = {os.getuid()}\n"
    running.configure("tpmd", f'tcti = "{tpm.tcti}"\n{principals}')
    yield running
    running.stop()


@pytest.fixture
def hosted(services: Services) -> Hosted:
    return services.host("tpmd")


@pytest.fixture
def client(hosted: Hosted, services: Services) -> TpmClient:
    assert hosted.version == "2020-09-01"
    return TpmClient(services.socket("tpmd"))


def test_the_whole_way_of_an_enrolment(client: TpmClient) -> None:
    """Keys out, wrapped key in, signature out: what identityd does at DPS."""
    client.import_auth_key(make_import_blob(*client.tpm_keys(), b"swordfish"))
    assert client.sign_with_auth_key(b"text") == hmac.digest(b"swordfish", b"text", "sha256")


def test_answers_are_upstreams(hosted: Hosted, client: TpmClient) -> None:
    """Names and statuses are those of Azure IoT Edge's service."""
    status, keys = hosted.call(0, "GET /get_tpm_keys")
    assert (status, sorted(keys)) == (200, ["endorsement_key", "storage_root_key"])  # type: ignore[call-overload]
    blob = make_import_blob(*client.tpm_keys(), b"k")
    assert hosted.call(0, "POST /import_auth_key", {"key": b64(blob)}) == (200, {})
    digest = b64(hmac.digest(b"k", b"d", "sha256"))
    answer = hosted.call(IDENTITY, "POST /sign_with_auth_key", {"data": b64(b"d")})
    assert answer == (200, {"digest": digest})


def test_a_key_may_sign_without_being_kept(client: TpmClient) -> None:
    """The key of a registration signs from its blob; the authentication key stays what it was."""
    keys = client.tpm_keys()
    client.import_auth_key(make_import_blob(*keys, b"of the hub"))
    blob = make_import_blob(*keys, b"of a registration")
    for _ in range(2):
        digest = hmac.digest(b"of a registration", b"text", "sha256")
        assert client.sign_with_key(blob, b"text") == digest
    assert client.sign_with_auth_key(b"text") == hmac.digest(b"of the hub", b"text", "sha256")


def test_secrets_are_sealed_and_unsealed(hosted: Hosted) -> None:
    """The routes of our own."""
    status, answer = hosted.call(0, "POST /seal", {"data": b64(b"secret"), "pcrs": [11, 7]})
    assert status == 200
    assert hosted.call(0, "POST /unseal", answer) == (200, {"data": b64(b"secret")})


ROUTES = [
    ("GET /get_tpm_keys", None),
    ("POST /import_auth_key", {"key": ""}),
    ("POST /sign_with_auth_key", {"data": ""}),
    ("POST /sign_with_key", {"key": "", "data": ""}),
    ("POST /seal", {"data": "", "pcrs": [7]}),
    ("POST /unseal", {"sealed": ""}),
]


@pytest.mark.parametrize(("line", "body"), ROUTES)
def test_nobody_else_may(hosted: Hosted, line: str, body: object) -> None:
    """Every user but root and the principals gets 401 and no reason, also for bad input."""
    for uid in (1, 1000, 13611, 13612, 13613, 13615, 13622, 65534, 2**32 - 1):
        assert hosted.call(uid, line, body) == (401, "unauthorized")
        assert hosted.call(uid, line, ["nonsense"]) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("line", "body", "status", "message"),
    [
        ("POST /import_auth_key", {}, 422, "key is missing"),
        ("POST /import_auth_key", {"key": "?"}, 422, "key is not base64"),
        ("POST /import_auth_key", {"key": ""}, 400, "authentication key ends early"),
        ("POST /import_auth_key", {"key": b64(bytes(5000))}, 400, "expected at most 4096"),
        ("POST /sign_with_auth_key", {"data": ""}, 400, "no authentication key was imported"),
        ("POST /sign_with_auth_key", [], 422, "expected a JSON object"),
        ("POST /sign_with_key", {"data": ""}, 422, "key is missing"),
        ("POST /sign_with_key", {"key": "", "data": ""}, 400, "authentication key ends early"),
        ("POST /seal", {"data": "eA=="}, 422, "pcrs is missing or not an array"),
        ("POST /seal", {"data": "eA==", "pcrs": [99]}, 400, "expected different 0 to 23"),
        ("POST /seal", {"data": "", "pcrs": [7]}, 400, "data has 0 bytes"),
        ("POST /unseal", {"sealed": b64(b"SKTPM2")}, 400, "no secret sealed by tpmd"),
        ("POST /unseal", {"sealed": b64(b"SKTPM1\0\0\0\0")}, 400, "PCRs are 0x0, expected some"),
    ],
)
def test_mistakes_are_named(
    hosted: Hosted, line: str, body: object, status: int, message: str
) -> None:
    """Each with its status, and the TPM works on."""
    answer = hosted.call(0, line, body)
    assert answer[0] == status
    assert message in str(answer[1])
    assert hosted.call(0, "GET /get_tpm_keys")[0] == 200


def test_another_boot_is_a_conflict(hosted: Hosted, tpm: Swtpm) -> None:
    """409 tells a changed boot from a wrong secret."""
    from tpm2_pytss.constants import ESYS_TR

    _, sealed = hosted.call(0, "POST /seal", {"data": b64(b"secret"), "pcrs": [16]})
    with tpm.raw() as esapi:
        esapi.pcr_event(ESYS_TR.PCR16, b"event")
    status, message = hosted.call(0, "POST /unseal", sealed)
    assert (status, "PCR 16" in str(message)) == (409, True)


def test_a_tpm_that_is_gone_comes_back(client: TpmClient, tpm: Swtpm) -> None:
    """Without the TPM the answer says so; nothing has to be restarted when it is back."""
    keys = client.tpm_keys()
    tpm.stop()
    with pytest.raises(ApiError, match="cannot be reached by tcti 'swtpm:") as caught:
        client.tpm_keys()
    assert caught.value.status == 500
    tpm.start()
    assert client.tpm_keys() == keys


def test_a_locked_up_file_system_is_no_answer(
    hosted: Hosted, client: TpmClient, services: Services
) -> None:
    """A pending import that cannot be read is an internal error; the log has the reason."""
    pending = services.folder / "tpmd" / "state" / "auth-key.pending"
    pending.mkdir()
    assert hosted.call(0, "POST /sign_with_auth_key", {"data": ""}) == (500, "internal error")
    pending.rmdir()
    assert len(client.tpm_keys()) == 2


def test_many_sign_at_once(client: TpmClient) -> None:
    """Requests take turns at the TPM; every signature is right."""
    client.import_auth_key(make_import_blob(*client.tpm_keys(), b"k"))
    wrong: list[bytes] = []

    def sign(number: int) -> None:
        for turn in range(5):
            data = f"{number} {turn}".encode()
            if client.sign_with_auth_key(data) != hmac.digest(b"k", data, "sha256"):
                wrong.append(data)

    threads = [threading.Thread(target=sign, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_process_serves_and_rests(services: Services) -> None:
    """As a process: it answers, tells its settings, shows no secret, and exits when idle."""
    process = services.start("tpmd", "--idle-exit=0.3")
    service = ServiceClient(services.socket("tpmd"), "2020-09-01")
    assert len(str(service.get("/config"))) > 64
    assert len(TpmClient(services.socket("tpmd")).tpm_keys()) == 2
    assert process.wait(20) == 0
    services.running.pop("tpmd").communicate()


def test_the_library_is_loaded_at_the_first_use_only() -> None:
    """A device without a TPM does not pay for it."""
    code = "import sys, skerry.tpm.service; sys.exit('tpm2_pytss' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=30)
    assert done.returncode == 0


def test_settings_are_upstreams() -> None:
    """Every setting, its default, and nothing of a password when printed."""
    assert parse_settings({}) == Settings("device", 0x100, Secret(""), Secret(""), 10, (IDENTITY,))
    table = {
        "tcti": "device:/dev/tpmrm1",
        "auth_key_index": 512,
        "max_requests": 40,
        "hierarchy_authorization": {"endorsement": "hello", "owner": "world"},
        "principal": [{"uid": 7}],
    }
    settings = parse_settings(table)
    assert (settings.tcti, settings.auth_handle, settings.uids) == (
        "device:/dev/tpmrm1",
        0x81000200,
        (7,),
    )
    assert (settings.endorsement.reveal(), settings.owner.reveal()) == ("hello", "world")
    assert "hello" not in repr(settings)
    assert Settings(auth_key_index=0x7FFFFF).storage_handles == (0x81000001, 0x817FFFFE)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"tcty": "x"}, "tcty is not a setting of tpmd"),
        ({"tcti": 1}, "tcti is int, expected a string"),
        ({"tcti": "a\0"}, "expected a string without NUL"),
        ({"auth_key_index": "0x100"}, "auth_key_index is '0x100', expected an integer from 0"),
        ({"auth_key_index": 1}, "auth_key_index 1 is the place of the storage root key"),
        ({"auth_key_index": 0x800000}, "expected an integer from 0 to 8388607"),
        ({"max_requests": True}, "max_requests is True, expected an integer from 1"),
        ({"hierarchy_authorization": 1}, "hierarchy_authorization is not a table"),
        ({"hierarchy_authorization": {"owner": 12345}}, "owner is int, expected a string"),
        ({"principal": {}}, "principal is {}, expected tables"),
        ({"principal": [{"uid": "root"}]}, "expected tables { uid = NUMBER }"),
    ],
)
def test_wrong_settings_are_named(table: dict[str, object], message: str) -> None:
    """The service does not start, and says what was expected."""
    with pytest.raises(SettingsError) as caught:
        parse_settings(table)
    assert message in str(caught.value)
    assert "12345" not in str(caught.value)


def test_tpm_show_prints_what_it_needs(
    hosted: Hosted,
    services: Services,
    client: TpmClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Text and JSON have the same facts; the registration id is the usual digest."""
    assert hosted
    monkeypatch.setenv("SKERRY_RUN", str(services.folder))
    endorsement, storage = client.tpm_keys()
    assert run(["tpm", "show", "--output", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    digest = hashlib.sha256(endorsement).hexdigest()
    assert facts == {
        "registration_id": digest,
        "endorsement_key": b64(endorsement),
        "endorsement_key_sha256": digest,
        "storage_root_key": b64(storage),
        "storage_root_key_sha256": hashlib.sha256(storage).hexdigest(),
    }
    assert run(["tpm", "show"]) == 0
    printed = capsys.readouterr()
    lines = [line.split("  ", 1) for line in printed.out.splitlines()]
    assert [value.strip() for _, value in lines] == list(facts.values())
    assert "enrol the device with the endorsement key" in printed.err


def test_tpm_show_without_a_tpm_says_so(
    hosted: Hosted,
    services: Services,
    tpm: Swtpm,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No TPM behind tpmd, then no tpmd: exit status 1 and what to do."""
    assert hosted
    monkeypatch.setenv("SKERRY_RUN", str(services.folder))
    tpm.stop()
    assert run(["tpm", "show"]) == 1
    assert "the TPM cannot be reached by tcti" in capsys.readouterr().err
    monkeypatch.setenv("SKERRY_RUN", str(services.folder / "nowhere"))
    assert run(["tpm", "show"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "run it with sudo on a device that has tpmd" in printed.err
