"""Renewals of services that sleep, on a Debian 13 device: real units, sockets, idle exit and clock.

The device certificate lives for a day and is to be renewed a minute after it was issued. identityd
exits after three seconds without a call, so nobody but edged can have it renewed.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.nspawn import Device, running_device

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

SITE = """
hostname = "one"
[provisioning]
source = "standalone"
[agent]
name = "edgeAgent"
type = "docker"
[agent.config]
image = "localhost/skerry/agent:0"
"""
BY_HAND = {
    "certd": "[cert_issuance]\n"
    'device-id = { method = "self_signed", expiry_days = 1 }\n'
    'device-id-temp = { method = "self_signed", expiry_days = 1 }\n',
    "identityd": "[provisioning.authentication.identity_auto_renew]\n"
    'rotate_key = true\nthreshold = "1439min"\nretry = "4%"\n',
}
QUICK = """[Service]
ExecStart=
ExecStart=/usr/bin/python3 -I -m skerry.{module}.service --idle-exit 3
"""
MODULES = {"keyd": "keys", "certd": "certs", "identityd": "identity"}
CERTIFICATE = "cat /var/lib/skerry/certd/certs/deviceid-*.cer"
WAKE_SECONDS = 240


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A configured device whose security services exit after three seconds."""
    folder = tmp_path_factory.mktemp("device")
    build = [sys.executable, "-m", "skerry_factory.cli", "deb", "--out", str(folder)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (package,) = folder.glob("*.deb")
    with running_device(tmp_path_factory.mktemp("machine")) as found:
        shell(found, "cat > /root/skerry.deb && dpkg -i /root/skerry.deb", package.read_bytes())
        for name, text in BY_HAND.items():
            path = f"/etc/skerry/{name}/config.d/90-test.toml"
            owner = f"skerry-{name.removesuffix('d').replace('cert', 'certs')}"
            shell(found, f"cat > {path} && chown {owner} {path}", text.encode())
        for name, module in MODULES.items():
            drop_in = f"/etc/systemd/system/skerry-{name}.service.d"
            unit = QUICK.format(module=module)
            shell(found, f"mkdir {drop_in} && cat > {drop_in}/quick.conf", unit.encode())
        shell(found, "systemctl daemon-reload")
        shell(found, "skerry config apply --config -", SITE.encode())
        yield found


def shell(device: Device, script: str, data: bytes = b"") -> str:
    """Run a script in the device as root."""
    done = subprocess.run(
        ["nsenter", "--target", str(device.leader), "--all", "--", "bash", "-c", script],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        input=data,
        capture_output=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, (script, (done.stdout + done.stderr).decode())
    return done.stdout.decode()


def certificate(device: Device) -> str:
    """Return the device certificate, empty while there is none."""
    return device.run("bash", "-c", CERTIFICATE).stdout


def active(device: Device, name: str) -> bool:
    """Tell whether a service runs."""
    return device.run("systemctl", "is-active", f"skerry-{name}.service").returncode == 0


def test_edged_wakes_a_sleeping_service_when_its_deadline_comes(device: Device) -> None:
    """identityd sleeps with its deadline on disk, wakes, renews the certificate, sleeps again."""
    until(lambda: certificate(device), device, 60)
    until(lambda: not any(active(device, name) for name in MODULES), device, 60)
    first = certificate(device)
    deadline = shell(device, "cat /var/lib/skerry/identityd/deadline.json")
    assert "device" in deadline
    started = shell(device, "journalctl -u skerry-identityd -o cat").count("started")
    until(lambda: certificate(device) != first, device, WAKE_SECONDS)
    log = shell(device, "journalctl -u skerry-edged -o cat")
    assert "woken for what is due" in log
    assert shell(device, "journalctl -u skerry-identityd -o cat").count("started") > started
    until(lambda: not active(device, "identityd"), device, 60)
    later = shell(device, "cat /var/lib/skerry/identityd/deadline.json")
    assert later != deadline
    assert shell(device, "ls /var/lib/skerry/keyd/keys | grep -c deviceid").strip() == "1"


def test_callbacks_of_ctypes_work_without_writable_code(device: Device) -> None:
    """TLS with a key in keyd calls back from OpenSSL, under MemoryDenyWriteExecute= too."""
    code = "import ctypes; print(ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7)())"
    sandbox = "-p MemoryDenyWriteExecute=yes -p NoNewPrivileges=yes -p ProtectSystem=strict"
    run = f"systemd-run --quiet --wait --pipe {sandbox} python3 -I -c '{code}'"
    assert shell(device, run).strip() == "7"


EST_SERVER = """
import json, sys, tempfile
from pathlib import Path
from fakes.est import est_server
with tempfile.TemporaryDirectory() as folder, est_server(Path(folder)) as server:
    certificate, key = server.client("bootstrap")
    answer = {"url": server.url, "root": server.root_pem, "certificate": certificate, "key": key}
    print(json.dumps(answer), flush=True)
    sys.stdin.read()
    print(json.dumps(server.asked), flush=True)
"""
BY_EST = """
[cert_issuance.est]
trusted_certs = ["file:///etc/skerry/est/root.pem"]
[cert_issuance.est.auth]
bootstrap_identity_cert = "file:///etc/skerry/est/bootstrap.pem"
bootstrap_identity_pk = "file:///etc/skerry/est/bootstrap.key"
[cert_issuance.est.urls]
default = "{url}"
[edge_ca]
method = "est"
common_name = "one's edge CA"
auto_renew = {{ rotate_key = true, threshold = "80%", retry = "4%" }}
"""


def test_the_edge_ca_comes_from_est_in_the_sandbox(device: Device) -> None:
    """Real users and rights: bootstrap identity, then the identity, whose keys stay in keyd."""
    server = subprocess.Popen(
        device.command([sys.executable, "-c", EST_SERVER]),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        given = json.loads(server.stdout.readline())
        shell(device, "mkdir -p /etc/skerry/est")
        for name, field, owner in (
            ("root.pem", "root", "skerry-certs"),
            ("bootstrap.pem", "certificate", "skerry-certs"),
            ("bootstrap.key", "key", "skerry-keys"),
        ):
            path = f"/etc/skerry/est/{name}"
            write = f"cat > {path} && chown {owner} {path} && chmod 600 {path}"
            shell(device, write, given[field].encode())
        shell(device, "rm -f /var/lib/skerry/certd/certs/aziotedgedca-*")
        site = SITE + BY_EST.format(url=given["url"])
        shell(device, "skerry config apply --config -", site.encode())
        issuer = "openssl x509 -noout -issuer -in /var/lib/skerry/certd/certs/aziotedgedca-*.cer"
        until(lambda: "EST issuing CA" in device.run("bash", "-c", issuer).stdout, device, 60)
        shell(device, "ls /var/lib/skerry/certd/certs/estid-*.cer")
        until(lambda: not active(device, "certd"), device, 60)
        deadline = shell(device, "cat /var/lib/skerry/certd/deadline.json")
        assert "renew certificate est-id" in deadline
    finally:
        asked, _ = server.communicate(timeout=30)
    assert json.loads(asked)[-1] == ["simpleenroll", "certificate CN=bootstrap"]


def until(condition: Callable[[], object], device: Device, seconds: float) -> None:
    """Wait for a condition; fails with the journals after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            units = " ".join(f"-u skerry-{name}" for name in (*MODULES, "edged"))
            pytest.fail(shell(device, f"journalctl {units} -o short | tail -80"))
        time.sleep(0.5)
