"""The running lab: TLS, HTTP/1.1, both families of addresses, its folder, its end."""

import http.client
import json
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.lab import SetClock, Signed, make_token, signed
from harness.tiers import Counts
from skerry.base.https import HttpsClient, trust_context
from skerry.heads.certificates import thumbprints
from skerry.heads.http import HttpLimits
from skerry_lab.dps.model import Attestation, Enrollment
from skerry_lab.errors import AddressInUseError, LabError
from skerry_lab.registry.model import Authentication, AuthType
from skerry_lab.server import Lab, LabSettings
from skerry_lab.store import DATABASE

NOW = datetime.now(UTC)
VERSION = "api-version=2017-11-08-preview"


def client(lab: Lab, device: Signed | None = None, folder: Path | None = None) -> HttpsClient:
    context = trust_context([lab.root_pem], system_roots=False)
    if device and folder:
        file = folder / "device.pem"
        file.write_text(device.key_pem + device.chain_pem)
        context.load_cert_chain(file)
    return HttpsClient(context, timeout_seconds=10)


def device_headers(lab: Lab, device_id: str) -> dict[str, str]:
    key = lab.registry.device(device_id).authentication.keys[0]
    audience = f"{lab.hub_name}/devices/{device_id}"
    return {"Authorization": make_token(audience, key, time.time() + 60)}


def talk(lab: Lab, sent: bytes) -> bytes:
    """Send bytes over TLS and return everything that comes back until the end."""
    context = trust_context([lab.root_pem], system_roots=False)
    with (
        socket.create_connection(("127.0.0.1", lab.https_port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def ask(connection: http.client.HTTPSConnection) -> int:
    connection.request("GET", "/")
    return connection.getresponse().status


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_it_is_reached_by_every_loopback_name(lab: Lab, host: str) -> None:
    """The certificate holds for the name and both addresses."""
    lab.registry.create_device("d1")
    url = f"https://{host}:{lab.https_port}/devices/d1/modules?{VERSION}"
    answer = client(lab).request("GET", url, headers=device_headers(lab, "d1"))
    assert (answer.status, len(json.loads(answer.body))) == (200, 2)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_client_certificate_reaches_the_api(
    lab: Lab, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """Leaf and chain of the handshake decide: a group's device is let in, a stranger gets 401."""
    root = signed("root", authority=True, start=NOW - timedelta(days=1))
    lab.add_enrollment(Enrollment("site", Attestation.X509, group=True, certificates=(root.pem,)))
    middle = signed("middle", root, authority=True, start=NOW - timedelta(days=1))
    for by, status in ((middle, 202), (None, 401)):
        device = signed("dev1", by, start=NOW - timedelta(days=1))
        context = trust_context([lab.root_pem], system_roots=False)
        context.maximum_version = context.minimum_version = version
        file = tmp_path / "device.pem"
        file.write_text(device.key_pem + device.chain_pem)
        context.load_cert_chain(file)
        url = f"{lab.endpoint}/{lab.id_scope}/registrations/dev1/register?api-version=2021-06-01"
        answer = HttpsClient(context).request("PUT", url, body=b'{"registrationId": "dev1"}')
        assert answer.status == status, answer.body


def test_a_namesake_is_not_the_device(lab: Lab, tmp_path: Path) -> None:
    """The hub knows the leaf by its thumbprint: another of the same name gets 401."""
    device, thief = (signed("d1", start=NOW - timedelta(days=1)) for _ in range(2))
    lab.registry.create_device(
        "d1",
        authentication=Authentication(
            AuthType.SELF_SIGNED,
            primary_thumbprint=thumbprints(device.chain[0])[0],
        ),
    )
    url = f"{lab.endpoint}/devices/d1/modules?{VERSION}"
    assert client(lab, device, tmp_path).request("GET", url).status == 200
    assert client(lab, thief, tmp_path).request("GET", url).status == 401


def test_one_connection_serves_many_requests(lab: Lab) -> None:
    """Keep-alive works, also after an error."""
    lab.registry.create_device("d1")
    context = trust_context([lab.root_pem], system_roots=False)
    connection = http.client.HTTPSConnection("localhost", lab.https_port, context=context)
    headers = device_headers(lab, "d1")
    for path, status in (("/devices/d1", 200), ("/nothing", 404), ("/devices/d1/modules", 200)):
        connection.request("GET", f"{path}?{VERSION}", headers=headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET //[ HTTP/1.1\r\nhost: a\r\n\r\n", b"400"),
        (b"GET /?" + b"a=1&" * 100 + b" HTTP/1.1\r\nhost: a\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 200_000 + b"\r\n\r\n", b"431"),
        (
            b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2000000\r\n\r\n" + b"x" * 1_048_577,
            b"413",
        ),
    ],
    ids=["no HTTP", "no host", "bad target", "too many fields", "large head", "large body"],
)
def test_bad_http_is_answered_and_ends_the_connection(lab: Lab, sent: bytes, status: bytes) -> None:
    """What is not HTTP, or too large, gets its status; the lab goes on."""
    assert talk(lab, sent).startswith(b"HTTP/1.1 " + status)


def test_every_answer_has_the_date(tmp_path: Path) -> None:
    """A device whose clock is wrong learns the time also from a refusal."""
    with Lab(tmp_path / "lab", clock=SetClock()) as lab:
        for path in (b"/", b"/ bad"):
            said = talk(lab, b"GET " + path + b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert b"date: Mon, 23 Nov 2026 12:00:00 GMT\r\n" in said


def test_expect_continue_is_answered(lab: Lab) -> None:
    """A client that waits for leave to send its body gets it."""
    sent = (
        b"PUT /devices/d HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n"
        b"connection: close\r\n\r\n{}"
    )
    assert talk(lab, sent).startswith(b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 400")


def test_slow_clients_are_cut_off(tmp_path: Path) -> None:
    """A head, or a body, that does not come in time ends the connection without an answer."""
    limits = HttpLimits(head_seconds=0.2, body_seconds=0.2)
    with Lab(tmp_path / "lab", LabSettings(http=limits)) as lab:
        assert talk(lab, b"GET / HT") == b""
        assert talk(lab, b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{") == b""


def test_too_many_connections_leave_the_others_alone(tmp_path: Path) -> None:
    """One connection more than allowed is closed; those that are open are served."""
    with Lab(tmp_path / "lab", LabSettings(http=HttpLimits(connections=1))) as lab:
        context = trust_context([lab.root_pem], system_roots=False)
        first = http.client.HTTPSConnection("localhost", lab.https_port, context=context)
        first.request("GET", "/")
        assert first.getresponse().read()
        second = http.client.HTTPSConnection("localhost", lab.https_port, context=context)
        with pytest.raises(ConnectionError):
            ask(second)
        second.close()
        assert ask(first) == 404
        first.close()


def test_who_speaks_no_tls_disturbs_nobody(lab: Lab) -> None:
    """Plain HTTP ends that connection; the next is served."""
    with socket.create_connection(("127.0.0.1", lab.https_port), 10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")
    assert talk(lab, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")


def test_many_at_once(lab: Lab) -> None:
    """Parallel writers each get their own device, and all are there afterwards."""

    def make(number: int) -> int:
        name = f"d{number}"
        lab.registry.create_device(name, edge=False)
        url = f"{lab.endpoint}/devices/{name}/modules/m?{VERSION}"
        headers = device_headers(lab, name)
        return client(lab).request("PUT", url, headers=headers, body=b"{}").status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(make, range(24))) == {200}
    assert sum(len(lab.registry.modules(f"d{n}")) for n in range(24)) == 24


def test_a_defect_is_told_as_500_without_its_insides(lab: Lab) -> None:
    """A failing database gives 500 and a number to look for in the log."""
    lab.store.do(lambda cloud: cloud.registry.store._connection.execute("DROP TABLE device"))
    url = f"{lab.endpoint}/devices/d1/modules?{VERSION}"
    headers = {"Authorization": make_token(f"{lab.hub_name}/devices/d1", b"k", time.time() + 60)}
    answer = client(lab).request("GET", url, headers=headers)
    assert answer.status == 500
    assert b"internal error" in answer.body
    assert b"no such table" not in answer.body


def test_a_folder_is_private_and_lasts(tmp_path: Path) -> None:
    """Root, id scope, devices and policies are the same after a restart; the files are 0600."""
    folder = tmp_path / "lab"
    with Lab(folder) as lab:
        lab.registry.create_device("d1")
        before = (lab.root_pem, lab.id_scope, lab.registry.device("d1"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        assert (folder / "ca.pem").read_text() == lab.root_pem
    assert modes.pop("ca.pem") == 0o644
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with Lab(folder) as lab:
        assert (lab.root_pem, lab.id_scope, lab.registry.device("d1")) == before


def test_a_folder_has_one_server(lab: Lab, tmp_path: Path) -> None:
    """A second lab on the same folder is refused before it touches anything."""
    with pytest.raises(LabError, match="a lab already runs on"):
        Lab(tmp_path / "lab").start()


def test_a_taken_port_is_named(lab: Lab, tmp_path: Path) -> None:
    """The message says which port, and what to do."""
    settings = LabSettings(https_port=lab.https_port)
    with pytest.raises(AddressInUseError, match=f"port {lab.https_port} of 127.0.0.1 is taken"):
        Lab(tmp_path / "other", settings).start()
    assert not (tmp_path / "other" / DATABASE).exists()


def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    """The lab listens on addresses of this machine only."""
    with pytest.raises(LabError, match=r"cannot listen on '192\.0\.2\.1' port 0"):
        Lab(tmp_path / "lab", LabSettings(hosts=("192.0.2.1",))).start()


def test_a_start_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    """With a database that cannot be used there is no lock, no port and no thread left."""
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / DATABASE).write_bytes(b"no database" * 100)
    lab = Lab(folder)
    threads = threading.active_count()
    with pytest.raises(LabError, match="cannot be used as the lab's database"):
        lab.start()
    assert threading.active_count() == threads
    (folder / DATABASE).unlink()
    with Lab(folder, LabSettings(https_port=lab.https_port)) as again:
        assert again.https_port == lab.https_port


def test_a_lab_starts_again_at_its_port(tmp_path: Path) -> None:
    """After a stop it is where it was, so that devices find it."""
    lab = Lab(tmp_path / "lab")
    lab.start()
    before = lab.endpoint
    lab.stop()
    with lab:
        assert lab.endpoint == before


def test_the_certificate_is_renewed_while_it_serves(tmp_path: Path) -> None:
    """When 30 days are left, new connections see a new certificate; the lab is not restarted."""
    clock = SetClock()
    settings = LabSettings(renewal_seconds=0.02)
    with Lab(tmp_path / "lab", settings, clock=clock) as lab:
        address = ("127.0.0.1", lab.https_port)
        first = ssl.get_server_certificate(address)
        clock.move(370 * 86400)
        end = time.monotonic() + 20
        while ssl.get_server_certificate(address) == first:
            assert time.monotonic() < end


def test_the_names_of_a_lab(tmp_path: Path) -> None:
    """The first name is the hub's; the server's certificate holds for all of them."""
    with Lab(tmp_path / "lab", LabSettings(names=("hub.example", "192.0.2.7"))) as lab:
        assert lab.hub_name == f"hub.example:{lab.https_port}"
        context = trust_context([lab.root_pem], system_roots=False)
        for name in ("hub.example", "192.0.2.7"):
            with (
                socket.create_connection(("127.0.0.1", lab.https_port), 10) as plain,
                context.wrap_socket(plain, server_hostname=name),
            ):
                pass


CHILD = """
import sys
from pathlib import Path
from skerry_lab.server import Lab
with Lab(Path(sys.argv[1])) as lab:
    number = 0
    while True:
        lab.registry.create_device(f"d{number}")
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
        number += 1
"""


@pytest.mark.timeout(900)
def test_what_was_answered_survives_kill_9(tmp_path: Path, counts: Counts) -> None:
    """Killed while it registers devices, the lab has every device that it acknowledged."""
    for run in range(counts.of("lab kills", reduced=3, full=200)):
        folder = tmp_path / str(run)
        command = [sys.executable, "-c", CHILD, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(5 + run % 20)]
            process.kill()
            told += process.stdout.readlines()
        with Lab(folder) as lab:
            for line in told:
                device = lab.registry.device(f"d{line.strip()}")
                assert len(lab.registry.modules(device.device_id)) == 2
