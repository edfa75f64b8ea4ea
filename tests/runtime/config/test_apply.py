"""Apply: a new configuration is wholly in force, or the former one is."""

import errno
import json
import stat
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.devices import (
    FailingDisk,
    PowerCut,
    RunningServices,
    make_device,
    settings_in_force,
)
from harness.pairs import pair
from skerry.config.apply import Device, Outcome, apply, render
from skerry.config.site import SERVICES

PLAIN = b'hostname = "alpha"\n\n[provisioning]\nsource = "standalone"\n'
OTHER = PLAIN.replace(b"alpha", b"omega")
SECRET = PLAIN + (
    b'\n[agent]\nname = "edgeAgent"\ntype = "docker"\n'
    b"[agent.config]  # a comment that stays\n"
    b'image = "registry.example/agent:1"\n'
    b'auth = { username = "u", password = "sword\\"fish" }  # and another\n'
)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return make_device(tmp_path)


def _services(device: Device) -> RunningServices:
    assert isinstance(device.services, RunningServices)
    return device.services


def _generations(device: Device) -> list[str]:
    return sorted(path.name for path in device.paths.generations.iterdir())


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _hostname(device: Device) -> Any:
    """Return the host name in force; every service must see the same generation, whole."""
    names = {settings_in_force(device, service)["hostname"] for service in ("identityd", "edged")}
    manifest = json.loads((device.paths.current / "manifest.json").read_text())
    assert {path.name for path in device.paths.current.iterdir()} == {
        *manifest["files"], "manifest.json",
    }  # fmt: skip
    (name,) = names
    return name


def test_a_first_configuration_is_put_in_force(device: Device) -> None:
    """All files are written, every service is restarted, the text is installed."""
    outcome = apply(PLAIN, "config.toml", device)
    assert outcome.result == "applied"
    assert outcome.generation == 1
    assert outcome.changed == (*SERVICES, "deployment", "config")
    assert outcome.restarted == SERVICES
    assert device.paths.current.readlink() == Path("generations/1")
    assert _hostname(device) == "alpha"
    assert device.paths.installed.read_bytes() == PLAIN


def test_a_login_of_a_module_is_for_the_deployment_alone(device: Device) -> None:
    """Its password is in deployment.json, which is private, and in nothing that anybody sees."""
    login = 'auth = { username = "u", password = "swordfish" }'
    outcome = apply(
        PLAIN + f'[modules.m]\nimage = "r.example/m:1"\n{login}\n'.encode(), "f", device
    )
    assert outcome.result == "applied"
    assert "swordfish" not in repr(outcome)
    assert "***" in outcome.diff
    assert b"swordfish" not in device.paths.installed.read_bytes()
    holders = [p.name for p in device.paths.current.iterdir() if b"swordfish" in p.read_bytes()]
    assert sorted(holders) == ["deployment.json", "secrets.json"]
    assert _mode(device.paths.current / "deployment.json") == 0o640


def test_files_have_the_modes_of_the_interface(device: Device) -> None:
    """Settings and secrets are private, the folder is open, the deployment is for the group."""
    apply(PLAIN, "config.toml", device)
    current = device.paths.current
    assert _mode(current.resolve()) == 0o755
    assert _mode(current / "deployment.json") == 0o640
    private = [*(f"{s}.toml" for s in SERVICES), "config.toml", "secrets.json", "manifest.json"]
    assert {_mode(current / name) for name in private} == {0o600}
    assert {_mode(device.paths.installed), _mode(device.paths.private / "digest.key")} == {0o600}
    assert _mode(device.paths.private) == 0o700


def test_the_same_input_changes_nothing(device: Device, tmp_path: Path) -> None:
    """A second apply writes nothing and restarts nothing."""
    apply(SECRET, "config.toml", device)
    disk = FailingDisk()
    again = replace(make_device(tmp_path, disk), services=device.services)
    _services(again).log.clear()
    assert apply(SECRET, "config.toml", again) == Outcome("unchanged", 1)
    assert (disk.changes, _services(again).log) == ([], [])


def test_only_what_changed_is_restarted(device: Device) -> None:
    """A new module changes the deployment and nothing else."""
    apply(PLAIN, "config.toml", device)
    outcome = apply(PLAIN + b'[modules.m]\nimage = "alpine"\n', "config.toml", device)
    assert (outcome.changed, outcome.restarted) == (("deployment", "config"), ())
    assert '+     "m": {' in outcome.diff


def test_a_service_that_is_not_here_is_not_waited_for(device: Device) -> None:
    """Its file is written all the same."""
    _services(device).absent.add("tpmd")
    outcome = apply(PLAIN, "config.toml", device)
    assert outcome.restarted == ("keyd", "certd", "identityd", "edged")
    assert (device.paths.current / "tpmd.toml").is_file()


def test_clear_secrets_leave_the_installed_file(device: Device) -> None:
    """The installed text is the user's own, with a reference in place of the secret."""
    apply(SECRET, "config.toml", device)
    installed = device.paths.installed.read_text()
    reference = '{ secret = "sealed:agent.config.auth.password" }'
    assert installed == SECRET.decode().replace('"sword\\"fish"', reference)
    secrets = json.loads((device.paths.current / "secrets.json").read_text())
    assert secrets["secrets"] == {"agent.config.auth.password": 'sword"fish'}
    config = settings_in_force(device, "edged")["agent"]
    assert 'sword"fish' in repr(config)


def test_the_installed_file_applies_again(device: Device) -> None:
    """References resolve, and the keyed digest is that of the first input."""
    apply(SECRET, "config.toml", device)
    assert apply(device.paths.installed.read_bytes(), "config.toml", device).result == "unchanged"
    edited = device.paths.installed.read_bytes().replace(b"agent:1", b"agent:2")
    outcome = apply(edited, "config.toml", device)
    assert (outcome.result, outcome.changed) == ("applied", ("edged", "deployment", "config"))
    assert "fish" in (device.paths.current / "edged.toml").read_text()
    assert device.paths.installed.read_bytes() == edited


def test_a_reference_to_nothing_is_refused(device: Device) -> None:
    """A secret that the device does not hold is named with its place."""
    text = SECRET.replace(b'"sword\\"fish"', b'{ secret = "sealed:x" }')
    (problem,) = apply(text, "config.toml", device).problems
    assert str(problem) == (
        "config.toml:11:37: agent.config.auth.password: refers to a secret that this device "
        "does not hold; expected the secret itself"
    )


def test_no_secret_is_in_the_answer(device: Device) -> None:
    """Diff and problems show stars, for the old secret and the new."""
    apply(SECRET, "config.toml", device)
    outcome = apply(SECRET.replace(b"sword\\", b"cat\\"), "config.toml", device)
    shown = json.dumps(outcome.to_json())
    assert outcome.changed == ("edged", "config")
    assert "fish" not in shown
    assert "alpha" not in outcome.diff


def test_a_refused_configuration_changes_nothing(device: Device) -> None:
    """Problems are reported, and nothing is written but the folder of the lock."""
    outcome = apply(b"[provisioning]\n", "config.toml", device)
    assert (outcome.result, outcome.ok, len(outcome.problems)) == ("refused", False, 1)
    assert not device.paths.generations.exists()
    assert not device.paths.installed.exists()


def test_a_dry_run_writes_nothing(device: Device, tmp_path: Path) -> None:
    """It says what would change, before the first configuration and after it."""
    before = sorted(tmp_path.rglob("*"))
    outcome = apply(PLAIN, "config.toml", device, dry_run=True)
    assert (outcome.result, outcome.generation) == ("would-change", None)
    assert sorted(tmp_path.rglob("*")) == before
    apply(PLAIN, "config.toml", device)
    assert apply(PLAIN, "config.toml", device, dry_run=True).result == "unchanged"
    outcome = apply(OTHER, "config.toml", device, dry_run=True)
    assert (outcome.result, outcome.generation) == ("would-change", 1)
    assert '-hostname = "alpha"\n+hostname = "omega"\n' in outcome.diff


def test_a_service_that_refuses_brings_the_former_configuration_back(device: Device) -> None:
    """The link returns, the services run with their former settings, nothing new is left."""
    apply(PLAIN, "config.toml", device)
    former = dict(_services(device).digests)
    _services(device).refusing.add("identityd")
    outcome = apply(OTHER, "config.toml", device)
    assert (outcome.result, outcome.generation, outcome.ok) == ("rolled-back", 1, False)
    assert outcome.problems[0].message == (
        "identityd refused its settings; generation 1 is in force as before"
    )
    assert _hostname(device) == "alpha"
    assert _generations(device) == ["1"]
    assert _services(device).digests == former
    assert device.paths.installed.read_bytes() == PLAIN


def test_a_first_configuration_that_is_refused_leaves_none(device: Device) -> None:
    """A device without configuration is again without."""
    _services(device).refusing.add("keyd")
    outcome = apply(PLAIN, "config.toml", device)
    assert outcome.problems[0].message.endswith("; no configuration is in force as before")
    assert not device.paths.current.is_symlink()
    assert _generations(device) == []


def test_an_interrupt_brings_the_former_configuration_back(device: Device) -> None:
    """Ctrl-C while waiting for the services is not half an apply."""
    apply(PLAIN, "config.toml", device)
    _services(device).interrupt = True
    with pytest.raises(KeyboardInterrupt):
        apply(OTHER, "config.toml", device)
    assert (_hostname(device), _generations(device)) == ("alpha", ["1"])


def _changes_of_an_apply(folder: Path) -> list[str]:
    device = make_device(folder)
    apply(SECRET, "config.toml", device)
    disk = FailingDisk()
    apply(OTHER, "config.toml", replace(device, disk=disk))
    return disk.changes


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """Whichever write finds no space, the former configuration is in force and nothing is left."""
    changes = _changes_of_an_apply(tmp_path / "count")
    for number, change in enumerate(changes):
        device = make_device(tmp_path / str(number))
        apply(SECRET, "config.toml", device)
        full = OSError(errno.ENOSPC, "No space left on device")
        outcome = apply(OTHER, "config.toml", replace(device, disk=FailingDisk(number, full)))
        assert (change, outcome.ok, _hostname(device)) == (change, False, "alpha")
        assert "No space left on device" in outcome.problems[0].message
        assert _generations(device) == ["1"]


def test_a_power_cut_leaves_the_former_or_the_new_configuration(tmp_path: Path) -> None:
    """Cut before each change to the disk; the next apply then ends as if nothing had been."""
    changes = _changes_of_an_apply(tmp_path / "count")
    switched = next(n for n, change in enumerate(changes) if change == "switch current")
    for number in range(len(changes)):
        device = make_device(tmp_path / str(number))
        apply(SECRET, "config.toml", device)
        with pytest.raises(PowerCut):
            apply(OTHER, "config.toml", replace(device, disk=FailingDisk(number)))
        assert _hostname(device) == ("alpha" if number <= switched else "omega")
        outcome = apply(OTHER, "config.toml", device)
        assert outcome.result in {"applied", "unchanged"}
        assert _hostname(device) == "omega"
        assert _generations(device) == ["1", "2"]
        assert device.paths.installed.read_bytes() == OTHER


def test_the_last_three_generations_are_kept(device: Device) -> None:
    """Older ones go, with the files that only they needed."""
    for number in range(5):
        apply(PLAIN.replace(b"alpha", b"h%d" % number), "config.toml", device)
    assert _generations(device) == ["3", "4", "5"]


def test_a_damaged_generation_is_written_anew(device: Device) -> None:
    """The same input is not "unchanged" when its files are not those that were written."""
    apply(PLAIN, "config.toml", device)
    (device.paths.current / "keyd.toml").write_bytes(b"")
    outcome = apply(PLAIN, "config.toml", device)
    assert (outcome.result, outcome.generation) == ("applied", 2)
    (device.paths.current / "certd.toml").unlink()
    assert apply(PLAIN, "config.toml", device).generation == 3
    (device.paths.current / "manifest.json").write_bytes(b"{")
    assert apply(PLAIN, "config.toml", device).generation == 4


def test_the_installed_file_is_brought_back(device: Device) -> None:
    """Secrets that were typed into the installed file leave it, also when nothing else changes."""
    apply(SECRET, "config.toml", device)
    device.paths.installed.write_bytes(SECRET)
    assert apply(SECRET, "config.toml", device).result == "unchanged"
    assert b"fish" not in device.paths.installed.read_bytes()


def test_the_digest_of_the_input_needs_its_key(device: Device, tmp_path: Path) -> None:
    """The same input on two devices has two digests, so that it tells nothing."""
    other = make_device(tmp_path / "other")
    digests = set()
    for target in (device, other):
        apply(SECRET, "config.toml", target)
        manifest = json.loads((target.paths.current / "manifest.json").read_text())
        digests |= {manifest["input_digest"], manifest["files"]["secrets.json"]}
    assert len(digests) == 4


CERT, KEY = pair("edge")
FILES = PLAIN.replace(
    b"[prov", b'trust_bundle_cert = "file:///run/seed/secrets/a%20ca.pem"\n[prov'
) + (
    b'[edge_ca]\ncert = "file:///run/seed/secrets/edge.pem"\npk = "file:///run/seed/secrets/edge.key"\n'
)


def _put(folder: Path, **files: bytes) -> None:
    (folder / "run/seed/secrets").mkdir(parents=True, exist_ok=True)
    names = {"ca": "a ca.pem", "cert": "edge.pem", "key": "edge.key"}
    for key, data in files.items():
        (folder / "run/seed/secrets" / names[key]).write_bytes(data)


def test_files_of_the_seed_come_to_stay(device: Device, tmp_path: Path) -> None:
    """They lie with their services, private, and the installed file names them there."""
    _put(tmp_path, ca=b"CA", cert=CERT, key=KEY)
    assert apply(FILES, "config.toml", device).result == "applied"
    tables = tomllib.loads(device.paths.installed.read_text())
    key = Path(tables["edge_ca"]["pk"].removeprefix("file://"))
    assert (key.read_bytes(), _mode(key), _mode(key.parent)) == (KEY, 0o600, 0o700)
    assert key.parent == device.paths.state / "keyd/imported"
    cert = Path(tables["edge_ca"]["cert"].removeprefix("file://"))
    assert (cert.parent, cert.read_bytes()) == (device.paths.state / "certd/imported", CERT)
    assert settings_in_force(device, "keyd")["preloaded_keys"] == {
        "aziot-edged-ca": f"file://{key}"
    }


def test_imported_files_stay_when_the_seed_is_gone(device: Device, tmp_path: Path) -> None:
    """The installed file applies again without the seed; the seed again changes nothing."""
    _put(tmp_path, ca=b"CA", cert=CERT, key=KEY)
    apply(FILES, "config.toml", device)
    assert apply(FILES, "config.toml", device).result == "unchanged"
    _put(tmp_path, ca=b"", cert=b"", key=b"")
    assert apply(device.paths.installed.read_bytes(), "config.toml", device).result == "unchanged"


def test_a_new_key_of_the_same_name_is_a_change(device: Device, tmp_path: Path) -> None:
    """Another content gets another name, and the old file goes with its last generation."""
    pairs = [pair(f"edge {number}") for number in range(5)]
    for number, (cert, key) in enumerate(pairs):
        _put(tmp_path, ca=b"CA", cert=cert, key=key)
        assert apply(FILES, "config.toml", device).restarted == (
            SERVICES if not number else ("keyd", "certd")
        )
    keys = {path.read_bytes() for path in (device.paths.state / "keyd/imported").iterdir()}
    assert keys == {key for _, key in pairs[2:]}


NO_CERTIFICATE = (
    "7:8: edge_ca.cert: file '/run/seed/secrets/edge.pem' holds no certificate, or a damaged one; "
    "expected certificates in PEM, the device's own first"
)
NO_KEY = (
    "8:6: edge_ca.pk: file '/run/seed/secrets/edge.key' holds no private key, a damaged or an "
    "encrypted one; expected a private key in PEM, without a password"
)
FOREIGN = (
    "8:6: edge_ca.pk: the key in '/run/seed/secrets/edge.key' does not belong to the certificate "
    "in '/run/seed/secrets/edge.pem'; expected the key of that certificate"
)


@pytest.mark.parametrize(
    ("cert", "key", "problem"),
    [
        pytest.param(b"", KEY, NO_CERTIFICATE, id="no certificate"),
        pytest.param(CERT[:200], KEY, NO_CERTIFICATE, id="a certificate that is cut"),
        pytest.param(CERT, KEY[:100], NO_KEY, id="a key that is cut"),
        pytest.param(CERT, CERT, NO_KEY, id="a certificate in place of a key"),
        pytest.param(CERT, pair("other")[1], FOREIGN, id="somebody else's key"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    device: Device, tmp_path: Path, cert: bytes, key: bytes, problem: str
) -> None:
    """Before anything is changed, with the place that names them; no byte of a key is shown."""
    _put(tmp_path, ca=b"CA", cert=cert, key=key)
    outcome = apply(FILES, "config.toml", device)
    assert (outcome.result, device.paths.current.exists()) == ("refused", False)
    assert [str(problem) for problem in outcome.problems] == [f"config.toml:{problem}"]


def test_a_file_that_is_not_there_is_a_problem(device: Device) -> None:
    """Every missing file is named at once, with its place in config.toml."""
    outcome = apply(FILES.replace(b"/run/seed/secrets", b"/var"), "config.toml", device)
    assert [(p.line, p.column, p.key) for p in outcome.problems] == [
        (3, 21, "trust_bundle_cert"), (7, 8, "edge_ca.cert"), (8, 6, "edge_ca.pk"),
    ]  # fmt: skip
    assert outcome.problems[1].message == (
        "file '/var/edge.pem' cannot be read: no such file or directory"
    )
    assert not device.paths.generations.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = ", "file '/about.toml' cannot be used: Invalid value (at end of document)"),
        (b"\xff", "file '/about.toml' cannot be used: 'utf-8' codec"),
        (b"a = 1\n", "key 'a' of file '/about.toml' is no string"),
    ],
)
def test_additional_info_must_be_flat(
    device: Device, tmp_path: Path, content: bytes, message: str
) -> None:
    """A file that edged could not use is refused, at the key that names it."""
    (tmp_path / "about.toml").write_bytes(content)
    (problem,) = apply(b'additional_info = "file:///about.toml"\n' + PLAIN, "c", device).problems
    assert problem.message.startswith(message)
    assert (problem.line, problem.column, problem.expected) == (
        1,
        19,
        "TOML, a flat table of strings",
    )


def test_additional_info_is_part_of_the_input(device: Device, tmp_path: Path) -> None:
    """Its content goes to edged, and another content is a change."""
    text = b'additional_info = "file:///about.toml"\n' + PLAIN
    for content, result in (
        (b'a = "1"', "applied"),
        (b'a = "1"', "unchanged"),
        (b'a = "2"', "applied"),
    ):
        (tmp_path / "about.toml").write_bytes(content)
        assert apply(text, "config.toml", device).result == result
    assert settings_in_force(device, "edged")["additional_info"] == {"a": "2"}


def test_rendering_needs_no_device(device: Device) -> None:
    """The files of all services come back; files that only the device has are not looked for."""
    plan, outcome = render(FILES.replace(b"/run/seed/secrets", b"/var"), "config.toml", device)
    assert plan is not None
    assert sorted(plan.files) == sorted([*(f"{s}.toml" for s in SERVICES), "deployment.json"])
    assert outcome.result == "would-change"


@pytest.mark.parametrize(
    "text", [b"x = 1\n", FILES, SECRET.replace(b'"sword\\"fish"', b'{ secret = "sealed:x" }')]
)
def test_rendering_refuses_what_apply_would(device: Device, text: bytes) -> None:
    """Problems, files of a seed that is not there and sealed secrets give no files."""
    plan, outcome = render(text, "config.toml", device)
    assert (plan, outcome.result, outcome.ok) == (None, "refused", False)


def test_the_host_name_does_not_change_under_modules(device: Device) -> None:
    """It is refused at its place with the containers that are in the way, and nothing changes."""
    engines: list[str] = []

    def containers(uri: str) -> list[str]:
        engines.append(uri)
        return ["pump", "edgeAgent"]

    apply(PLAIN, "config.toml", device)
    outcome = apply(OTHER, "config.toml", replace(device, containers=containers))
    assert [str(problem) for problem in outcome.problems] == [
        "config.toml:1:12: hostname: the host name changes from 'alpha' to 'omega' while modules "
        "exist that were made under the old one: edgeAgent, pump; remove them with "
        "`skerry system stop --remove` and apply again; expected 'alpha'"
    ]
    assert (outcome.result, _hostname(device)) == ("refused", "alpha")
    assert engines == ["unix:///var/run/docker.sock"]


def test_without_modules_the_host_name_may_change(device: Device) -> None:
    """No container holds the old name; and under the same name the engine is not asked."""
    apply(PLAIN, "config.toml", device)
    assert apply(OTHER, "config.toml", device).result == "applied"

    def never(uri: str) -> list[str]:
        raise AssertionError(uri)

    assert apply(OTHER + b"\n", "config.toml", replace(device, containers=never)).ok
