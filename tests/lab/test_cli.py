"""`skerry-lab`: verbs, output, exit statuses, a clean end."""

import base64
import json
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from harness.lab import signed
from skerry.base.https import HttpsClient, trust_context
from skerry.wire import sas
from skerry.wire.tpm import ENDORSEMENT_TEMPLATE
from skerry_lab.cli import main

BIN = Path(sys.executable).parent / "skerry-lab"


class Lab:
    """Runs verbs on one data folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Return status, standard output and standard error."""
        status = main([*arguments, "--data", str(self.folder)])
        said = self._capsys.readouterr()
        return status, said.out, said.err

    def json(self, *arguments: str) -> object:
        status, out, err = self.run(*arguments, "--output", "json")
        assert (status, err) == (0, ""), err
        return json.loads(out)


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Lab:
    return Lab(tmp_path / "lab", capsys)


def test_a_device_is_created_listed_shown_and_deleted(cli: Lab) -> None:
    """The connection string is ready to paste; a deleted device is named as missing."""
    made = cli.json("device", "create", "d1", "--primary-key", base64.b64encode(b"k" * 32).decode())
    assert isinstance(made, dict)
    assert made["connectionString"] == (
        "HostName=localhost;DeviceId=d1;SharedAccessKey="
        "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="
    )
    assert cli.json("device", "show", "d1") == made
    assert cli.json("device", "list") == [made]
    assert (
        cli.run("device", "list")[1]
        == "deviceId  status   auth  edge\nd1        enabled  sas   yes\n"
    )
    assert cli.run("device", "create", "d1") == (
        1, "", "skerry-lab: A device with ID 'd1' is already registered\n",
    )  # fmt: skip
    assert cli.run("device", "delete", "d1") == (0, "", "")
    assert cli.run("device", "show", "d1") == (1, "", "skerry-lab: Device d1 not registered\n")


def test_devices_with_certificates(cli: Lab) -> None:
    """A thumbprint or the authority take the place of the key."""
    by_print = cli.json(
        "device", "create", "d1", "--auth-method", "x509_thumbprint", "--ptp", "ab" * 20,
        "--edge-enabled", "false",
    )  # fmt: skip
    assert isinstance(by_print, dict)
    assert (by_print["auth"], by_print["edge"]) == ("selfSigned", False)
    assert by_print["connectionString"] == "HostName=localhost;DeviceId=d1;x509=true"
    by_ca = cli.json("device", "create", "d2", "--am", "x509_ca", "--status", "disabled")
    assert isinstance(by_ca, dict)
    assert (by_ca["auth"], by_ca["status"]) == ("certificateAuthority", "disabled")
    status, _, err = cli.run("device", "create", "d3", "--am", "x509_thumbprint")
    assert (status, "needs x509Thumbprint" in err) == (1, True)


def test_a_device_is_changed(cli: Lab) -> None:
    """What is not named stays; a disabled device, another thumbprint, another kind of proof."""
    made = cli.json("device", "create", "d1")
    assert isinstance(made, dict)
    disabled = cli.json("device", "update", "d1", "--status", "disabled")
    assert disabled == {**made, "status": "disabled"}
    by_print = cli.json("device", "update", "d1", "--am", "x509_thumbprint", "--ptp", "ab" * 20)
    assert isinstance(by_print, dict)
    assert (by_print["status"], by_print["auth"]) == ("disabled", "selfSigned")
    assert cli.run("device", "update", "d1", "--ptp", "")[0] == 1
    by_key = cli.json("device", "update", "d1", "--am", "shared_private_key", "--status", "enabled")
    assert isinstance(by_key, dict)
    assert by_key["connectionString"] != made["connectionString"]
    assert cli.run("device", "update", "none", "--status", "disabled") == (
        1, "", "skerry-lab: Device none not registered\n",
    )  # fmt: skip


def test_keys_are_renewed_and_swapped(cli: Lab) -> None:
    """Each key by itself, both, or one for the other; a device without keys is refused."""
    first, second = "YQ" * 11 + "==", "Yg" * 11 + "=="
    kinds = ("swap", "secondary", "both")
    answers = [cli.json("device", "create", "d1", "--pk", first, "--sk", second)]
    answers += [cli.json("device", "renew-key", "d1", "--kt", kind) for kind in kinds]
    texts = [one["connectionString"] for one in answers if isinstance(one, dict)]
    keys = [text.partition("SharedAccessKey=")[2] for text in texts]
    assert keys[:3] == [first, second, second]
    assert keys[3] not in keys[:3]
    cli.run("device", "create", "d2", "--am", "x509_ca")
    status, _, err = cli.run("device", "renew-key", "d2", "--kt", "primary")
    assert (status, "device 'd2' does not authenticate by key" in err) == (1, True)


def test_an_enrolment_prints_what_config_toml_needs(cli: Lab) -> None:
    """The text form ends with the tables of config.toml, on standard error."""
    status, out, err = cli.run("enrollment", "create", "e1")
    assert status == 0
    key = next(line.split()[1] for line in out.splitlines() if line.startswith("primaryKey"))
    for line in (
        'source = "dps"',
        'registration_id = "e1"',
        f'symmetric_key = {{ value = "{key}" }}',
    ):
        assert line in err
    assert cli.run("enrollment", "create", "e1")[2] == (
        "skerry-lab: enrolment 'e1' exists; delete it first to change it\n"
    )
    assert key not in cli.run("enrollment", "list")[1]
    assert cli.run("enrollment", "delete", "e1") == (0, "", "")
    assert cli.json("enrollment", "list") == []
    assert cli.run("enrollment", "delete", "e1")[0] == 1


def test_a_group_and_the_keys_of_its_devices(cli: Lab) -> None:
    """`compute-device-key` derives what the device is given."""
    made = cli.json("enrollment", "create", "site", "--group")
    assert isinstance(made, dict)
    assert made["kind"] == "group"
    key = sas.device_key(base64.b64decode(made["primaryKey"]), "d1")
    assert cli.json("enrollment", "compute-device-key", "site", "d1") == {
        "registrationId": "d1",
        "deviceKey": base64.b64encode(key).decode(),
    }
    assert (
        "no group enrolment 'none'" in cli.run("enrollment", "compute-device-key", "none", "d")[2]
    )
    assert cli.json("enrollment", "show", "site", "--group") == made


def test_enrolments_by_certificate_and_tpm(cli: Lab, tmp_path: Path) -> None:
    """Certificates come from files, an endorsement key as `skerry tpm show` prints it."""
    file = tmp_path / "root.pem"
    file.write_text(signed("root", authority=True).pem)
    made = cli.run(
        "enrollment", "create", "site", "--group", "--attestation-type", "x509", "--cp", str(file)
    )
    assert (made[0], 'method = "x509"' in made[2]) == (0, True)
    key = base64.b64encode(replace(ENDORSEMENT_TEMPLATE, unique=b"n" * 256).marshal()).decode()
    tpm = cli.run("enrollment", "create", "t1", "--at", "tpm", "--ek", key, "--payload", "[1]")
    assert (tpm[0], 'method = "tpm"' in tpm[2]) == (0, True)
    assert (
        "has no key to derive from" in cli.run("enrollment", "compute-device-key", "site", "d")[2]
    )
    missing = cli.run("enrollment", "create", "x", "--at", "x509", "--cp", str(tmp_path / "none"))
    assert (missing[0], "cannot be read as a certificate" in missing[2]) == (1, True)


def test_authorities_of_the_hub(cli: Lab, tmp_path: Path) -> None:
    """An authority is trusted by name until it is deleted; what is no certificate is refused."""
    file = tmp_path / "root.pem"
    file.write_text(signed("root", authority=True).pem)
    assert cli.run("certificate", "create", "plant", "--path", str(file)) == (0, "", "")
    (listed,) = cast("list[dict[str, object]]", cli.json("certificate", "list"))
    assert (listed["name"], listed["subject"], listed["isVerified"]) == ("plant", "CN=root", True)
    assert cli.json("certificate", "show", "plant") == listed
    assert cli.run("certificate", "delete", "plant") == (0, "", "")
    assert "no certificate 'plant'" in cli.run("certificate", "delete", "plant")[2]
    file.write_text("nothing")
    status, _, err = cli.run("certificate", "create", "plant", "--path", str(file))
    assert (status, "the text is not a certificate" in err) == (1, True)


def test_an_authority_is_proven(cli: Lab, tmp_path: Path) -> None:
    """By a certificate for the code, signed by the authority."""
    root, file, proof = signed("root", authority=True), tmp_path / "root.pem", tmp_path / "p.pem"
    file.write_text(root.pem)
    create = ("certificate", "create", "plant", "-p", str(file), "--verified", "false")
    assert cli.run(*create) == (0, "", "")
    made = cli.json("certificate", "generate-verification-code", "plant")
    assert isinstance(made, dict)
    verify = ("certificate", "verify", "plant", "-p", str(proof))
    proof.write_text(signed("other", root).pem)
    assert "expected the verification code" in cli.run(*verify)[2]
    now = datetime.now(UTC) - timedelta(hours=1)
    proof.write_text(signed(made["verificationCode"], root, start=now).pem)
    done = cli.json(*verify)
    assert isinstance(done, dict)
    assert done["isVerified"] is True


def test_the_root_and_the_policies(cli: Lab) -> None:
    """`root` prints PEM, the same each time; `policy list` what service SDKs are given."""
    status, pem, _ = cli.run("root")
    assert (status, pem) == (0, (cli.folder / "ca.pem").read_text())
    assert cli.json("root") == {"certificate": pem, "file": str(cli.folder / "ca.pem")}
    policies = cli.json("policy", "list")
    assert isinstance(policies, list)
    names = [policy["policyName"] for policy in policies]
    assert names == ["device", "iothubowner", "registryRead", "registryReadWrite", "service"]
    assert policies[1]["connectionString"].startswith(
        "HostName=localhost;SharedAccessKeyName=iothubowner;SharedAccessKey="
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["device"],
        ["up", "--https-port", "70000"],
        ["device", "create", "d", "--ee", "maybe"],
        ["enrollment", "create", "d", "--payload", "{"],
        ["enrollment", "create", "d", "--at", "magic"],
    ],
)
def test_usage_errors_exit_2(cli: Lab, arguments: list[str]) -> None:
    """A command line that cannot be understood exits 2 and makes no folder."""
    with pytest.raises(SystemExit) as caught:
        cli.run(*arguments)
    assert caught.value.code == 2
    assert not cli.folder.exists()


def test_a_folder_that_cannot_be_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file where the folder should be is exit 1 with its name."""
    (tmp_path / "file").write_text("")
    assert main(["device", "list", "--data", str(tmp_path / "file")]) == 1
    assert "file cannot be the lab's folder" in capsys.readouterr().err


def test_up_serves_until_sigterm(tmp_path: Path) -> None:
    """`up` prints where it is, serves, shows devices made beside it, and ends with 0."""
    folder = str(tmp_path / "lab")
    up = [str(BIN), "up", "--data", folder, "--https-port", "0", "--output", "json"]
    with subprocess.Popen(up, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            said += process.stdout.readline() or pytest.fail(said)
        facts = json.loads(said)
        assert main(["device", "create", "d1", "--data", folder]) == 0
        client = HttpsClient(
            trust_context([Path(facts["root"]).read_text()], system_roots=False), timeout_seconds=10
        )
        url = f"{facts['endpoint']}/devices/d1/modules?api-version=2021-04-12"
        assert client.request("GET", url).status == 401
        busy = facts["endpoint"].rpartition(":")[2]
        other = subprocess.run(
            [BIN, "up", "--data", str(tmp_path / "other"), "--https-port", busy],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert other.returncode == 1
        assert f"port {busy} of 127.0.0.1 is taken by another program" in other.stderr
        process.send_signal(signal.SIGTERM)
        _, talk = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "next steps" in talk
    assert talk.endswith("the lab has stopped\n")


def test_parents_and_children(cli: Lab) -> None:
    """As in the Azure CLI; a child of another is moved only by force."""
    for name in ("e1", "e2"):
        cli.json("device", "create", name)
    made = cli.json("device", "create", "l1", "--ee", "false", "--pd", "e1")
    assert isinstance(made, dict)
    assert made["parent"] == "e1"
    assert cli.run("device", "children", "add", "-d", "e1", "--child-list", "e2") == (0, "", "")
    assert cli.json("device", "children", "list", "-d", "e1") == [
        {"deviceId": "e2"},
        {"deviceId": "l1"},
    ]
    assert cli.json("device", "parent", "show", "-d", "e2") == {"deviceId": "e1"}
    moved = ("device", "parent", "set", "-d", "l1", "--pd", "e2")
    assert cli.run(*moved) == (
        1, "", "skerry-lab: device 'l1' is a child of 'e1'; --force moves it\n",
    )  # fmt: skip
    assert cli.run(*moved, "--force") == (0, "", "")
    assert cli.run("device", "children", "remove", "-d", "e1", "--cl", "l1") == (
        1, "", "skerry-lab: device 'l1' is not a child of 'e1'\n",
    )  # fmt: skip
    assert cli.run("device", "children", "remove", "-d", "e1", "-a") == (0, "", "")
    assert cli.run("device", "parent", "show", "-d", "e2") == (
        1, "", "skerry-lab: device 'e2' has no parent\n",
    )  # fmt: skip
