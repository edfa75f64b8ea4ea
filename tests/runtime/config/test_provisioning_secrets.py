"""Keys that come in config.toml: after apply only the service that reads them has them."""

import base64
from pathlib import Path

import pytest

from harness.devices import FailingDisk, PowerCut, make_device
from skerry.config.apply import apply
from skerry.config.site import Ids

KEY = b"a key of 32 bytes, for testing.."
TEXT = base64.b64encode(KEY).decode()
DPS = (
    '[provisioning]\nsource = "dps"\nglobal_endpoint = "https://dps.example"\nid_scope = "0ne"\n'
    '[provisioning.attestation]\nmethod = "symmetric_key"\nregistration_id = "d"\n'
)
STANDALONE = '[provisioning]\nsource = "standalone"\n'
CASES: dict[str, tuple[str, str, set[str]]] = {
    "a connection string": (
        '[provisioning]\nsource = "manual"\n'
        f'connection_string = "HostName=hub.example;DeviceId=d;SharedAccessKey={TEXT}"\n',
        TEXT, {"secrets.json", "device-id"},
    ),
    "a key of manual provisioning": (
        '[provisioning]\nsource = "manual"\niothub_hostname = "h"\ndevice_id = "d"\n'
        f'[provisioning.authentication]\nmethod = "sas"\ndevice_id_pk = {{ value = "{TEXT}" }}\n',
        TEXT, {"secrets.json", "device-id"},
    ),
    "a key for the provisioning service": (
        f'{DPS}symmetric_key = {{ value = "{TEXT}" }}\n', TEXT, {"secrets.json", "device-id"},
    ),
    "a group key": (f'{DPS}group_key = "{TEXT}"\n', TEXT, set()),
    "the PIN of a token": (
        f'{STANDALONE}[aziot_keys]\npkcs11_lib_path = "/l.so"\n'
        'pkcs11_base_slot = "pkcs11:token=t?pin-value=swordfish"\n',
        "swordfish", {"secrets.json", "keyd.toml"},
    ),
    "the PIN in a key URI": (
        f'{STANDALONE}[aziot_keys]\npkcs11_lib_path = "/l.so"\n'
        '[preloaded_keys]\na = "pkcs11:object=a?pin-value=swordfish"\n',
        "swordfish", {"secrets.json", "keyd.toml"},
    ),
    "the password of an EST server": (
        f'{STANDALONE}[cert_issuance.est.auth]\nusername = "u"\npassword = "swordfish"\n',
        "swordfish", {"secrets.json", "certd.toml"},
    ),
    "the authorization of a TPM": (
        f'{STANDALONE}[tpm.hierarchy_authorization]\nowner = "swordfish"\n',
        "swordfish", {"secrets.json", "tpmd.toml"},
    ),
}  # fmt: skip


def holders(folder: Path, secret: str) -> set[str]:
    """Return the files below a folder that hold a secret, as text or as the bytes it stands for."""
    forms = [secret.encode(), *([KEY] if secret == TEXT else [])]
    # the links of config.d lead to the same files
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    held = [path for path in files if any(form in path.read_bytes() for form in forms)]
    return {path.name.rpartition("-")[0] or path.name for path in held}


@pytest.mark.parametrize("case", CASES)
def test_a_secret_is_where_it_is_needed_and_nowhere_else(case: str, tmp_path: Path) -> None:
    """Not in the installed text, in no other service's settings, not in the answer; 0600 each."""
    config, secret, expected = CASES[case]
    device = make_device(tmp_path)
    outcome = apply(config.encode(), "config.toml", device)
    assert outcome.result == "applied", outcome.problems
    assert holders(tmp_path, secret) == expected
    assert secret not in str(outcome.to_json())
    for path in tmp_path.rglob("*"):
        if path.is_file() and (secret.encode() in path.read_bytes() or "imported" in path.parts):
            assert path.stat().st_mode & 0o777 == 0o600, path


@pytest.mark.parametrize("case", CASES)
def test_the_same_secret_again_changes_nothing(case: str, tmp_path: Path) -> None:
    """Neither the file that came in nor the installed one makes another generation."""
    config = CASES[case][0].encode()
    device = make_device(tmp_path)
    apply(config, "config.toml", device)
    assert apply(config, "config.toml", device).result == "unchanged"
    installed = device.paths.installed.read_bytes()
    assert apply(installed, "config.toml", device).result == "unchanged"
    assert device.paths.installed.read_bytes() == installed


def test_a_new_key_takes_the_place_of_the_old(tmp_path: Path) -> None:
    """Both lie in keyd's folder while a generation is kept that needs the old; then it goes."""
    device = make_device(tmp_path)
    for number in range(5):
        key = base64.b64encode(bytes([number]) * 32).decode()
        config = f'{DPS}symmetric_key = {{ value = "{key}" }}\n'
        outcome = apply(config.encode(), "config.toml", device)
        assert (outcome.result, outcome.restarted) == (
            "applied",
            ("keyd", "certd", "identityd", "tpmd", "edged") if number == 0 else ("keyd",),
        )
    kept = {path.read_bytes()[0] for path in (tmp_path / "state/keyd/imported").iterdir()}
    assert kept == {2, 3, 4}


def test_a_power_cut_never_leaves_settings_without_their_key(tmp_path: Path) -> None:
    """At each change to the disk: the file that keyd.toml in force names is there, and whole."""
    config = f'{DPS}symmetric_key = {{ value = "{TEXT}" }}\n'.encode()
    for cut in range(200):
        folder = tmp_path / str(cut)
        apply(STANDALONE.encode(), "config.toml", make_device(folder))
        disk = FailingDisk(cut)
        try:
            apply(config, "config.toml", make_device(folder, disk))
        except PowerCut:
            settings = (folder / "etc/current/keyd.toml").read_text()
            name = settings.partition('device-id = "file://')[2].partition('"')[0]
            assert not name or Path(name).read_bytes() == KEY
        else:
            return
    raise AssertionError("the apply has no end")


def test_the_key_belongs_to_keyd_alone(tmp_path: Path) -> None:
    """The folder is closed to everybody else, identityd too."""
    device = make_device(tmp_path)
    apply(CASES["a connection string"][0].encode(), "config.toml", device)
    folder = tmp_path / "state/keyd/imported"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert Ids().keyd != Ids().identityd
    assert "imported" not in (device.paths.current / "identityd.toml").read_text()
