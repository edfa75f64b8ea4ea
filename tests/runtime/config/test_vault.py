"""[secrets]: what apply makes of it, and where their values are afterwards."""

import json
from pathlib import Path

import pytest

from harness.devices import FailingDisk, PowerCut, make_device, settings_in_force
from skerry.base.secret_file import SecretFile, load
from skerry.config.apply import Device, Outcome, apply

STANDALONE = '[provisioning]\nsource = "standalone"\n'
VALUE = "correct horse battery staple"
MODULE = '[modules.pump]\nimage = "x"\nsecrets = ["db"]\n'


def config(secret: str, more: str = MODULE) -> bytes:
    return f"{STANDALONE}{more}[secrets.db]\n{secret}\n".encode()


def applied(device: Device, text: bytes) -> Outcome:
    outcome = apply(text, "f", device)
    assert outcome.problems == ()
    return outcome


def handed_over(device: Device) -> list[Path]:
    """Return the files that edged gets."""
    return sorted((device.paths.state / "edged" / "imported").glob("*"))


def clear_holders(device: Device) -> list[str]:
    """Return every file below the device that holds the value."""
    roots = (device.paths.etc, device.paths.state)
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    return sorted({path.name for path in files if VALUE.encode() in path.read_bytes()})


def index(device: Device) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(
        (device.paths.current / "vault.json").read_bytes()
    )["secrets"]
    return found


def seal(device: Device) -> None:
    """Do what edged does with the files."""
    for path in handed_over(device):
        path.write_bytes(load(path.read_bytes()).sealed(b"sealed").dump())


def test_only_edged_gets_a_value(tmp_path: Path) -> None:
    """The value is in one file; once that is sealed, the device has it nowhere in the clear."""
    device = make_device(tmp_path)
    applied(device, config(f'value = "{VALUE}"'))
    tag = index(device)["db"]["tag"]
    assert clear_holders(device) == [f"db-{tag}"]
    assert load(handed_over(device)[0].read_bytes()) == SecretFile("clear", "keyd", VALUE.encode())
    assert handed_over(device)[0].stat().st_mode & 0o777 == 0o600
    seal(device)
    assert clear_holders(device) == []
    assert 'value = { secret = "sealed:secrets.db.value" }' in device.paths.installed.read_text()
    deployment = json.loads((device.paths.current / "deployment.json").read_bytes())
    agent = deployment["modulesContent"]["$edgeAgent"]["properties.desired"]
    assert agent["modules"]["pump"]["secrets"] == ["db"]


@pytest.mark.parametrize("again", ["the input", "the installed copy"])
def test_a_second_apply_changes_nothing(tmp_path: Path, again: str) -> None:
    """Neither the same input nor the installed copy brings the value back in the clear."""
    device = make_device(tmp_path)
    text = config(f'value = "{VALUE}"')
    applied(device, text)
    seal(device)
    if again == "the installed copy":
        text = device.paths.installed.read_bytes()
    assert applied(device, text).result == "unchanged"
    assert applied(device, text + b"[modules.other]\nimage = 'y'\n").result == "applied"
    assert clear_holders(device) == []
    assert "tag" in index(device)["db"]


def test_a_new_value_replaces_no_former_one(tmp_path: Path) -> None:
    """Each value has a file of its own, kept as long as a generation needs it; nothing restarts."""
    device = make_device(tmp_path)
    applied(device, config(f'value = "{VALUE}"'))
    outcome = applied(device, config('value = "another"'))
    assert outcome.changed == ("secrets", "config")
    assert outcome.restarted == ()
    assert len(handed_over(device)) == 2
    for number in range(3):
        applied(device, config(f'value = "{number}"'))
    assert len(handed_over(device)) == 3


def test_the_diff_shows_no_value(tmp_path: Path) -> None:
    """The tag is all that is seen of a new value."""
    device = make_device(tmp_path)
    applied(device, config('value = "before"'))
    assert VALUE not in applied(device, config(f'value = "{VALUE}"')).diff


def test_a_value_may_lie_in_a_file(tmp_path: Path) -> None:
    """The file's bytes are the value; the installed copy goes on naming the file."""
    (tmp_path / "db.bin").write_bytes(b"\xff\x00value")
    device = make_device(tmp_path)
    applied(device, config('file = "/db.bin"'))
    assert load(handed_over(device)[0].read_bytes()).data == b"\xff\x00value"
    assert 'file = "/db.bin"' in device.paths.installed.read_text()


def test_a_file_of_the_seed_is_gone_afterwards(tmp_path: Path) -> None:
    """The installed copy refers to the sealed value, for the seed is wiped."""
    (tmp_path / "run/seed/secrets").mkdir(parents=True)
    (tmp_path / "run/seed/secrets/db").write_text(VALUE)
    device = make_device(tmp_path)
    applied(device, config('file = "/run/seed/secrets/db"'))
    installed = device.paths.installed.read_bytes()
    assert b'value = { secret = "sealed:secrets.db.value" }' in installed
    (tmp_path / "run/seed/secrets/db").unlink()
    seal(device)
    assert applied(device, installed).result == "unchanged"


def test_a_value_may_be_given_on_the_device(tmp_path: Path) -> None:
    """A secret without value and file has no tag; a module may name it all the same."""
    device = make_device(tmp_path)
    applied(device, config(""))
    assert index(device) == {"db": {"tag": None, "sealed_by": "keyd"}}
    assert handed_over(device) == []


def test_another_key_may_name_a_secret(tmp_path: Path) -> None:
    """A password that stands in [secrets] reaches the service that needs it, also from the copy."""
    login = (
        '[modules.pump]\nimage = "r.example/x"\nauth = { username = "u", password.secret = "db" }\n'
    )
    device = make_device(tmp_path)
    applied(device, config(f'value = "{VALUE}"', login))
    seal(device)
    for text in (config(f'value = "{VALUE}"', login), device.paths.installed.read_bytes()):
        assert applied(device, text).result == "unchanged"
    deployment = (device.paths.current / "deployment.json").read_text()
    assert f'"password": "{VALUE}"' in deployment
    assert set(clear_holders(device)) == {"deployment.json", "secrets.json"}


def test_the_tpm_is_open_to_edged_where_it_seals(tmp_path: Path) -> None:
    """Only a secret that the TPM seals gives edged a place among its callers."""
    device = make_device(tmp_path)
    applied(device, config('value = "x"'))
    assert "principal" not in settings_in_force(device, "tpmd")
    applied(device, config('value = "x"\nsealed_by = "tpm"'))
    uid = device.ids.edged
    assert settings_in_force(device, "tpmd")["principal"] == [{"uid": uid}, {"uid": uid}]
    assert load(handed_over(device)[-1].read_bytes()).sealer in ("keyd", "tpm")


GROUP = (
    '[provisioning]\nsource = "dps"\nid_scope = "0ne"\nglobal_endpoint = "https://dps.example"\n'
    '[provisioning.attestation]\nmethod = "symmetric_key"\nregistration_id = "d"\n'
)


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        (STANDALONE + '[secrets.db]\nvalue = ""', "secrets.db.value", "the secret is empty"),
        (STANDALONE + '[secrets.db]\nfile = "/none"', "secrets.db.file", "cannot be read: no such"),
        (
            STANDALONE + f'[secrets.db]\nvalue = "{"x" * 65537}"',
            "secrets.db.value", "the secret has 65537 bytes",
        ),
        (
            STANDALONE + '[secrets.db]\nvalue = { secret = "sealed:secrets.db.value" }',
            "secrets.db.value", "this device does not hold",
        ),
        (
            STANDALONE + '[agent.config]\nimage = "x"\nauth.password.secret = "bd"\n[agent]\n'
            'name = "edgeAgent"\ntype = "docker"\n[secrets.db]\nvalue = "x"',
            "agent.config.auth.password", "'bd' is not in [secrets] (expected",
        ),
        (
            STANDALONE + '[modules.m]\nimage = "x"\n'
            'auth = { username = "u", password.secret = "db" }\n'
            "[secrets.db]\n", "modules.m.auth.password", "secrets.db has no value here",
        ),
        (
            f'{GROUP}group_key.secret = "db"\n[secrets.db]\nvalue = "eA=="',
            "provisioning.attestation.group_key", "the wrong type",
        ),
        (
            f'{GROUP}symmetric_key.value.secret = "db"\n[secrets.db]\nvalue = "no key"',
            "provisioning.attestation.symmetric_key.value", "",
        ),
        (STANDALONE + '[secrets.".x"]\nvalue = "x"', 'secrets.".x"', ""),
        (STANDALONE + '[secrets.x]\nvalue = "x"\nfile = "/x"', "secrets.x.file", "unknown"),
        (STANDALONE + '[secrets.x]\nsealed_by = "luck"', "secrets.x.sealed_by", "'luck'"),
        (STANDALONE + '[modules.m]\nimage = "x"\nsecrets = ["a"]', "modules.m.secrets[0]", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(tmp_path: Path, text: str, key: str, message: str) -> None:
    """Each mistake is told at its place, and nothing is written."""
    device = make_device(tmp_path)
    outcome = apply(text.encode(), "f", device)
    assert [problem.key for problem in outcome.problems] == [key]
    assert message.partition(" (")[0] in outcome.problems[0].message
    assert not device.paths.current.exists()
    assert handed_over(device) == []


def test_the_sealer_of_a_value_that_is_gone_cannot_change(tmp_path: Path) -> None:
    """Only the value itself can be sealed by another."""
    device = make_device(tmp_path)
    applied(device, config('value = "x"'))
    text = device.paths.installed.read_bytes() + b'sealed_by = "tpm"\n'
    outcome = apply(text, "f", device)
    assert [problem.key for problem in outcome.problems] == ["secrets.db.sealed_by"]


def test_a_power_cut_leaves_the_former_secret_or_the_new_one(tmp_path: Path) -> None:
    """At every write: what is in force has its file, and applying again completes it."""
    counting = FailingDisk()
    device = make_device(tmp_path / "count")
    applied(device, config('value = "before"'))
    counted = make_device(tmp_path / "count", counting)
    applied(counted, config(f'value = "{VALUE}"'))
    for number in range(len(counting.changes)):
        folder = tmp_path / str(number)
        device = make_device(folder)
        applied(device, config('value = "before"'))
        with pytest.raises(PowerCut):
            apply(config(f'value = "{VALUE}"'), "f", make_device(folder, FailingDisk(number)))
        held = {path.name for path in handed_over(device)}
        assert f"db-{index(device)['db']['tag']}" in held
        applied(device, config(f'value = "{VALUE}"'))
        assert f"db-{index(device)['db']['tag']}" in {path.name for path in handed_over(device)}
