"""`skerry support-bundle`: what is in the zip, what never is, and what becomes of failures."""

import io
import json
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.docker_engine import DockerEngine, serving
from skerry.cli.main import run
from skerry.engine.client import MobyEngine

OWNER = {"net.azure-devices.edge.owner": "Microsoft.Azure.Devices.Edge.Agent"}
IMAGE = "localhost/test/pump:1"


def planted(number: int) -> str:
    """Return a secret with nothing in it that would give it away."""
    return f"plainword{number}hidden"


CONFIG = f"""
hostname = "station-8"
[provisioning]
source = "manual"
connection_string = "HostName=h.example;DeviceId=d;SharedAccessKey={planted(1)}"
[aziot_keys]
pkcs11_base_slot = "pkcs11:token=t?pin-value={planted(2)}"
[tpm.hierarchy_authorization]
owner = "{planted(3)}"
endorsement = "{planted(4)}"
[cert_issuance.est.auth]
username = "operator"
password = "{planted(5)}"
headers = {{ X-Site = "{planted(6)}" }}
[edge_ca]
method = "est"
password = "{planted(7)}"
[agent.config.auth]
serveraddress = "registry.example"
password = "{planted(8)}"
[modules.pump]
image = "{IMAGE}"
env = {{ DB_PASSWORD = "{planted(9)}", MODE = "{planted(10)}" }}
createOptions = {{ Env = ["TOKEN={planted(11)}"], Cmd = ["serve", "--key={planted(12)}"] }}
[modules.pump.auth]
password = "{planted(13)}"
[secrets.database]
value = "{planted(14)}"
[hub.leaf_devices.probe.authentication]
type = "sas"
primaryKey = "{planted(15)}"
secondaryKey = "{planted(16)}"
[unheard_of]
something = "{planted(17)}"
"""
EDGED = f"""
[agent.env]
https_proxy = "http://u:{planted(18)}@proxy:3128"
[provisioning.attestation.symmetric_key]
value = "{planted(19)}"
"""
SECRETS = {"provisioning.connection_string": planted(20), "more": [planted(21)]}
DEPLOYMENT = {
    "modulesContent": {
        "$edgeAgent": {
            "properties.desired": {
                "runtime": {"settings": {"registryCredentials": {"r": {"password": planted(22)}}}},
                "modules": {
                    "pump": {
                        "env": {"PIN": {"value": planted(23)}},
                        "settings": {
                            "image": IMAGE,
                            "createOptions": json.dumps({"Env": [f"A={planted(24)}"]}),
                        },
                    }
                },
            }
        },
        "$edgeHub": {"properties.desired": {"routes": {"up": "FROM /* INTO $upstream"}}},
        "pump": {"properties.desired": {"note": planted(25)}},
    }
}
PEM = f"-----BEGIN PRIVATE KEY-----\n{planted(26)}\n-----END PRIVATE KEY-----"
CONTAINER: dict[str, object] = {
    "Image": IMAGE,
    "Env": [f"API_TOKEN={planted(27)}", f"FLAVOUR={planted(28)}", "IOTEDGE_MODULEID=pump"],
    "Cmd": ["serve", "--password", planted(29), f"--license={planted(30)}"],
    "Labels": {**OWNER, "site.note": planted(31)},
}
MODULE_LOG = f"""reading 1
connecting with {planted(27)} and {planted(9)}
{PEM}
Authorization: Bearer {planted(32)}
client_secret: {planted(33)}
GET https://u:{planted(34)}@site.example/?sig={planted(35)}
sealed value {planted(20)} {planted(21)}
reading 2
"""
JOURNAL = f"edged[1]: password={planted(36)}\nedged[1]: module started module=pump"
COUNT = 36


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerEngine]:
    """A device full of secrets; programs of the system are on PATH and say little."""
    etc, programs = tmp_path / "etc", tmp_path / "bin"
    (etc / "current").mkdir(parents=True)
    (etc / "config.toml").write_text(CONFIG)
    for name in ("keyd", "certd", "tpmd", "identityd"):
        (etc / "current" / f"{name}.toml").write_text('state = "here"\n')
    (etc / "current" / "edged.toml").write_text(EDGED)
    (etc / "current" / "secrets.json").write_text(json.dumps(SECRETS))
    (etc / "current" / "deployment.json").write_text(json.dumps(DEPLOYMENT))
    programs.mkdir()
    for name in ("ip", "ss", "systemctl", "timedatectl"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} says so\n")
    (programs / "journalctl").write_text(f"#!/bin/sh\ncat <<'.'\n{JOURNAL}\n.\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("SKERRY_RUN", str(tmp_path))
    monkeypatch.setenv("SKERRY_HOST", f"unix://{tmp_path / 'mgmt.sock'}")
    monkeypatch.chdir(tmp_path)
    fake = DockerEngine(images={IMAGE: "sha256:" + "b" * 64})
    with serving(fake, tmp_path / "docker.sock"):
        client = MobyEngine(f"unix://{tmp_path / 'docker.sock'}")
        client.create("pump", CONTAINER)
        client.create("edgeAgent", {"Image": IMAGE, "Labels": OWNER})
        client.create("foreign", {"Image": IMAGE})
        fake.containers["pump"].log = MODULE_LOG.encode()
        fake.networks["azure-iot-edge"] = {"Name": "azure-iot-edge"}
        yield fake


def made(tmp_path: Path, *options: str) -> dict[str, bytes]:
    """Make a bundle and return its files."""
    out = tmp_path / "b.zip"
    assert run(["support-bundle", *where(tmp_path), "--output", str(out), *options]) == 0
    return content(out.read_bytes())


def where(tmp_path: Path) -> list[str]:
    return [f"--engine=unix://{tmp_path / 'docker.sock'}", f"--etc={tmp_path / 'etc'}"]


def content(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def states(files: dict[str, bytes]) -> dict[str, tuple[str, str]]:
    manifest: dict[str, Any] = json.loads(files["manifest.json"])
    return {part["name"]: (part["state"], part["reason"]) for part in manifest["parts"]}


def test_no_secret_of_the_device_is_in_a_bundle(device: DockerEngine, tmp_path: Path) -> None:
    """36 kinds are planted in settings, deployment, containers and logs; none is found."""
    files = made(tmp_path)
    found = {
        (number, name)
        for name, data in files.items()
        for number in range(1, COUNT + 1)
        if planted(number).encode() in data
    }
    assert found == set()


def test_a_bundle_holds_what_a_technician_asks_for(device: DockerEngine, tmp_path: Path) -> None:
    """Every part is there and still says what is no secret."""
    files = made(tmp_path)
    assert {
        "check.json", "config/config.json", "config/edged.json", "deployment/deployment.json",
        "docker/images.json", "docker/info.json", "host/disks.txt", "host/network.txt",
        "host/units.txt", "inspect/edgeAgent.json", "inspect/pump.json", "logs/docker.txt",
        "logs/edgeAgent_log.txt", "logs/kernel.txt", "logs/pump_log.txt", "logs/skerry-edged.txt",
        "logs/skerry-tpmd.txt", "manifest.json", "network/azure-iot-edge.json", "timeline.json",
    } <= {*files, "logs/edgeAgent_log.txt"}  # fmt: skip
    assert b'"hostname": "station-8"' in files["config/config.json"]
    assert b'"DB_PASSWORD": "***"' in files["config/config.json"]
    assert b"FROM /* INTO $upstream" in files["deployment/deployment.json"]
    assert b"IOTEDGE_MODULEID=pump" in files["inspect/pump.json"]
    assert files["logs/pump_log.txt"].splitlines()[0].endswith(b"reading 1")
    assert files["logs/pump_log.txt"].splitlines()[-1].endswith(b"reading 2")
    assert b"module started module=pump" in files["logs/skerry-edged.txt"]
    assert b"ss says so" in files["host/network.txt"]
    assert "container-engine-uri" in json.loads(files["check.json"])["checks"]
    assert not any("foreign" in name for name in files)


def test_the_runtime_alone_leaves_modules_out(device: DockerEngine, tmp_path: Path) -> None:
    """`-e`: agent and hub, and nobody's module."""
    files = made(tmp_path, "-e")
    assert "inspect/edgeAgent.json" in files
    assert "inspect/pump.json" not in files
    assert "logs/pump_log.txt" not in files


def test_a_part_that_fails_is_in_the_manifest(device: DockerEngine, tmp_path: Path) -> None:
    """No engine, no journal, a broken file: the rest is there, and the reasons."""
    device.refuse("/info", 500, "engine on fire")
    (tmp_path / "bin" / "journalctl").write_text("#!/bin/sh\necho 'no journal' >&2; exit 1\n")
    (tmp_path / "etc" / "config.toml").write_text(f"password = {planted(1)}")
    files = made(tmp_path)
    found = states(files)
    assert found["docker/info.json"] == ("failed", "engine on fire")
    assert found["logs/skerry-keyd.txt"] == ("failed", "journalctl: no journal")
    assert found["config/config.json"][0] == "failed"
    assert "is not TOML" in found["config/config.json"][1]
    assert found["deployment/reported.json"][0] == "failed"
    assert found["inspect/pump.json"] == ("whole", "")
    assert json.loads(files["manifest.json"])["complete"] is False
    assert planted(1).encode() not in files["manifest.json"]


def test_of_a_large_log_the_end_is_kept(device: DockerEngine, tmp_path: Path) -> None:
    """Beyond the limit the oldest lines go, and the manifest says so."""
    device.containers["pump"].log = b"".join(b"line %07d\n" % number for number in range(90_000))
    files = made(tmp_path, "--max-log-size", "1")
    lines = files["logs/pump_log.txt"].splitlines()
    assert lines[-1].endswith(b"line 0089999")
    assert lines[0].startswith(b"line ")
    assert len(files["logs/pump_log.txt"]) <= 1 << 20
    assert states(files)["logs/pump_log.txt"][0] == "cut"


def test_the_whole_is_bounded(device: DockerEngine, tmp_path: Path) -> None:
    """What does not fit any more is left out, named in the manifest."""
    device.containers["pump"].log = b"x" * 60 + b"\n" + (b"y" * 60 + b"\n") * 18_000
    files = made(tmp_path, "--max-size", "1")
    assert sum(map(len, files.values())) <= 1 << 20
    assert states(files)["logs/pump_log.txt"][0] == "cut"


def test_standard_output_is_the_zip_and_nothing_else(device: DockerEngine, tmp_path: Path) -> None:
    """`-o -`: talk goes to standard error."""
    command = [sys.executable, "-m", "skerry.cli.main", "support-bundle", *where(tmp_path)]
    done = subprocess.run([*command, "-o", "-"], capture_output=True, check=True)
    assert "inspect/pump.json" in content(done.stdout)
    assert b"checks" in done.stderr
    quiet = subprocess.run([*command, "-q", "-o", "-"], capture_output=True, check=True)
    assert quiet.stderr == b""


def test_the_file_has_a_name_of_its_time(
    device: DockerEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As upstream names it; the path is what is printed, and it is for its owner alone."""
    assert run(["support-bundle", *where(tmp_path), "--quiet"]) == 0
    path = tmp_path / capsys.readouterr().out.strip()
    assert path.name.startswith("support_bundle_20")
    assert path.name.endswith("_UTC.zip")
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_interruption_leaves_nothing_behind(device: DockerEngine, tmp_path: Path) -> None:
    """`kill` in the middle: no file, no temporary file, status 130."""
    (tmp_path / "bin" / "journalctl").write_text(
        f"#!/bin/sh\ntouch {tmp_path}/asked\nexec sleep 60\n"
    )
    out = tmp_path / "out"
    out.mkdir()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "skerry.cli.main",
            "support-bundle",
            *where(tmp_path),
            "-o",
            str(out),
        ],
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 20
    while not (tmp_path / "asked").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.endswith(b"skerry: interrupted\n")
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--since", "yesterday"], "skerry: time 'yesterday' is not understood"),
        (["-o", "/nonexistent/b.zip"], "skerry: No such file or directory: /nonexistent/"),
    ],
)
def test_what_cannot_be_done_is_said(
    options: list[str], message: str, device: DockerEngine, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Exit status 1, one line, and nothing left behind."""
    assert run(["support-bundle", "--quiet", *where(tmp_path), *options]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(message)
    assert captured.out == ""
    assert list(tmp_path.glob("*.zip")) == list(tmp_path.glob(".*.tmp")) == []
