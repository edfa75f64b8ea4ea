"""Stamping fleets: own seeds, the same again, and whole after a kill at any moment."""

import json
import os
import tomllib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from factory.fleet.conftest import COMMON, KEYS, STANDALONE, THREE, TPM, X509, Site
from harness.authority import write_authority
from harness.kill_points import kill_at_every_write
from harness.small_image import files_of_fat, files_on
from skerry.config.seed import read_seed
from skerry_factory.cache import exclusive
from skerry_factory.errors import BusyError, DefinitionError, FactoryError
from skerry_factory.fleet.ledger import read_ledger

IDS = ("press-01", "press-02", "press-03")


def seeds(site: Site) -> dict[str, dict[str, bytes]]:
    found = sorted((site.out / "devices").glob("[!.]*.seed.img"))
    return {file.name.removesuffix(".seed.img"): files_of_fat(file) for file in found}


def config(files: dict[str, bytes]) -> dict[str, object]:
    return tomllib.loads(files["config.toml"].decode())


def test_a_device_accepts_its_seed(site: Site, tmp_path: Path) -> None:
    """Each copy carries a seed that the runtime reads as that of its device."""
    site.write(X509)
    assert site.stamp().made == IDS
    for device, files in seeds(site).items():
        folder = tmp_path / device
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        seed = read_seed(folder)
        assert seed.device == device
        assert seed.digest == read_ledger(site.out)[device].made.seed


def test_certificates_are_the_operators(site: Site) -> None:
    """Each device has a key of its own and a certificate from the authority for it."""
    site.write(X509)
    site.stamp()
    authority = x509.load_pem_x509_certificate((site.folder / "ca.pem").read_bytes())
    serials = set()
    for device, files in seeds(site).items():
        chain = x509.load_pem_x509_certificates(files["secrets/device-id.pem"])
        chain[0].verify_directly_issued_by(authority)
        assert chain[0].subject.rfc4514_string() == f"CN={device}"
        assert chain[0].not_valid_after_utc == site.now + timedelta(days=730)
        assert chain[1] == authority
        serials.add(chain[0].serial_number)
        entry = read_ledger(site.out)[device]
        assert entry.not_after == chain[0].not_valid_after_utc.isoformat()
    assert len(serials) == 3


def test_config_is_shared_but_for_the_device(site: Site) -> None:
    """config.toml is the fleet's with host name and provisioning of the device."""
    site.write(KEYS)
    site.stamp()
    assert config(seeds(site)["press-02"]) == {
        **tomllib.loads(COMMON),
        "hostname": "press-02",
        "provisioning": {
            "source": "dps",
            "global_endpoint": "https://dps.example",
            "id_scope": "0ne1",
            "attestation": {
                "method": "symmetric_key",
                "registration_id": "press-02",
                "symmetric_key": {"value": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="},
            },
        },
    }


def test_an_address_becomes_a_network_file(site: Site) -> None:
    """A device with an address gets it by systemd-networkd, one without keeps DHCP."""
    site.write(STANDALONE, 'csv = "devices.csv"')
    (site.folder / "devices.csv").write_text("id,address\na,10.0.0.7/24\nb,\n")
    text = '[network]\ngateway = "10.0.0.1"\ndns = ["10.0.0.2"]\n'
    site.file.write_text(site.file.read_text() + text)
    site.stamp()
    found = seeds(site)
    assert found["a"]["network/10-fleet.network"].decode() == (
        "[Match]\nName=en*\n\n[Network]\nAddress=10.0.0.7/24\nGateway=10.0.0.1\nDNS=10.0.0.2\n"
    )
    assert not any(name.startswith("network/") for name in found["b"])


def test_overlays_hold_the_seeds(site: Site, tmp_path: Path) -> None:
    """A disk of a fleet is the image with the device's seed, in less than 2 MiB."""
    site.write(X509, disk_format="qcow2")
    site.stamp()
    disk = site.out / "devices/press-03.qcow2"
    assert config(files_on(disk, tmp_path))["hostname"] == "press-03"
    assert disk.stat().st_blocks * 512 < 2 << 20


def test_the_same_again_makes_nothing(site: Site) -> None:
    """A second run leaves every copy as it is; a copy that is gone comes back as it was."""
    site.write(X509)
    site.stamp()
    before = seeds(site)
    again = site.stamp()
    assert (again.made, again.unchanged) == ((), 3)
    (site.out / "devices/press-02.seed.img").unlink()
    assert site.stamp().made == ("press-02",)
    assert seeds(site) == before


def test_only_what_changed_is_made_anew(site: Site) -> None:
    """A device that was renamed gets a new seed with its old key; the others stay."""
    site.write(KEYS, 'csv = "devices.csv"')
    table = site.folder / "devices.csv"
    table.write_text("id,hostname\na,\nb,\n")
    site.stamp(os.urandom)
    key = config(seeds(site)["b"])["provisioning"]
    table.write_text("id,hostname\na,\nb,b.example\nc,\n")
    assert site.stamp(os.urandom).made == ("b", "c")
    assert config(seeds(site)["b"])["hostname"] == "b.example"
    assert config(seeds(site)["b"])["provisioning"] == key


def test_another_label_is_told_and_nothing_is_made(site: Site) -> None:
    """The ledger, and with it the label sheet, follows the table; the copy stays as it was."""
    site.write(STANDALONE, '[[devices.table]]\nid = "a"\nlabels = { hall = "3" }')
    site.stamp()
    site.write(STANDALONE, '[[devices.table]]\nid = "a"\nlabels = { hall = "4" }')
    assert site.stamp().made == ()
    assert read_ledger(site.out)["a"].labels == {"hall": "4"}
    before = (site.out / "ledger.jsonl").read_text()
    site.stamp()
    assert (site.out / "ledger.jsonl").read_text() == before


def test_an_expired_certificate_is_made_anew(site: Site) -> None:
    """Certificates that have ended, or of another authority, are not given out again."""
    site.write(X509)
    site.stamp()
    later = replace(site, now=site.now + timedelta(days=731))
    assert later.stamp().made == IDS
    write_authority(site.folder)
    assert later.stamp().made == IDS


def test_two_runs_do_not_meet(site: Site) -> None:
    """While one run has the folder another is refused."""
    site.write(STANDALONE)
    with exclusive(site.out / ".lock", ""), pytest.raises(BusyError, match="wait for its end"):
        site.stamp()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"common.toml": 'hostname = "x"\n'}, "common.toml: has 'hostname', which fleet.toml"),
        ({"common.toml": "[modles.x]\n"}, "common.toml:1:2: modles: unknown"),
        ({"common.toml": COMMON.replace("root", "other")}, "add other.pem to the secrets in"),
        ({"ca.key": "x"}, "ca.key: no private key in PEM"),
        ({"ca.pem": "x"}, "ca.pem: no certificate in PEM"),
    ],
    ids=["own key", "unknown table", "missing secret", "no key", "no certificate"],
)
def test_what_is_wrong_stamps_nothing(site: Site, change: dict[str, str], told: str) -> None:
    """A mistake in any of the fleet's files is told before anything is there."""
    site.write(X509)
    for name, text in change.items():
        (site.folder / name).write_text(text)
    with pytest.raises(DefinitionError, match="nothing was stamped") as refused:
        site.stamp()
    assert told in str(refused.value)
    assert not (site.out / "devices").exists()


@pytest.mark.parametrize(
    ("days", "ca", "told"),
    [(729, True, "before the devices'; lower valid_days"), (3650, False, "not the certificate of")],
    ids=["ends too early", "no authority"],
)
def test_an_authority_that_will_not_do_is_refused(
    site: Site, days: int, ca: bool, told: str
) -> None:
    """Certificates that nobody would accept are not made."""
    write_authority(site.folder, days=days, ca=ca)
    site.write(X509)
    with pytest.raises(DefinitionError, match=told):
        site.stamp()


@pytest.mark.faults
def test_killed_at_any_write_the_next_run_completes(site: Site, tmp_path: Path) -> None:
    """A kill leaves whole copies under final names; a second run makes the rest, no key twice."""
    site.write(X509, THREE.replace("3", "2"))
    out = site.out

    def prepare() -> None:
        for file in sorted(out.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()

    def work() -> None:
        site.stamp()

    def check() -> None:
        whole = seeds(site)
        kept = read_ledger(out)
        for device in kept:
            assert device in whole
        site.stamp()
        after = seeds(site)
        assert sorted(after) == ["press-01", "press-02"]
        assert after.items() >= whole.items()
        left = {path.name for path in out.iterdir()}
        assert left == {
            ".lock", "devices", "identities.jsonl", "ledger.jsonl",
            "enrollments-dps.json", "enrollments-lab.json",
        }  # fmt: skip
        assert not list((out / "devices").glob(".*"))

    found = kill_at_every_write(prepare, work, check)
    assert found.calls.count("rename") >= 4


def test_a_disk_without_room_is_told_before_the_first_copy(site: Site) -> None:
    """What all copies take is compared with what is free; nothing is written."""
    site.write(STANDALONE)
    with pytest.raises(FactoryError, match=r"3 copies take up to 1 MiB, .* has 0 MiB free; make"):
        replace(site, free_bytes=1000).stamp()
    assert not list((site.out / "devices").iterdir())
    assert not (site.out / "ledger.jsonl").exists()


def test_a_line_that_was_cut_short_is_not_read(site: Site) -> None:
    """A ledger whose last line is cut counts up to there, and goes on with whole lines."""
    site.write(STANDALONE)
    site.stamp()
    ledger = site.out / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-10])
    assert site.stamp().made == ("press-03",)
    assert [json.loads(line)["device"] for line in ledger.read_text().splitlines()] == [*IDS]


@pytest.mark.parametrize("name", ["ledger.jsonl", "identities.jsonl"])
@pytest.mark.parametrize("line", ["{}", "[]", "x"])
def test_a_damaged_file_is_told_by_name(site: Site, name: str, line: str) -> None:
    """A file with lines that are not ours stops the run before anything is made."""
    site.write(X509)
    site.out.mkdir()
    (site.out / name).write_text(line + "\n")
    with pytest.raises(FactoryError, match=rf"{name}.*; take .*, or remove it to stamp anew"):
        site.stamp()
    assert not (site.out / "devices").exists() or not list((site.out / "devices").iterdir())


def test_a_pending_device_is_named(site: Site) -> None:
    """Devices whose TPM nobody has seen yet are told; they are stamped all the same."""
    site.write(TPM)
    done = site.stamp()
    assert done.made == done.pending == IDS
