"""Collecting endorsement keys: from devices and sticks, and nothing that is another's."""

import base64
import json
from pathlib import Path

import pytest

from factory.fleet.conftest import KEYS, TPM, Site
from factory.fleet.test_enrollment import ENDORSEMENT_KEY
from harness.small_image import make_stick
from skerry_factory import cli
from skerry_factory.errors import FactoryError
from skerry_factory.fleet.collect import Ask, Told, ask_devices, read_sticks
from skerry_factory.fleet.definition import load_fleet
from skerry_factory.fleet.keys import read_keys
from skerry_factory.fleet.model import FleetDevice

OTHER_KEY = base64.b64encode(base64.b64decode(ENDORSEMENT_KEY)[:-1] + b"\xff").decode()


def told_by(answers: dict[str, Told]) -> Ask:
    def ask(device: FleetDevice) -> Told:
        if device.id not in answers:
            raise FactoryError("no route to host")
        return answers[device.id]

    return ask


def keys(site: Site) -> dict[str, str]:
    return read_keys(site.folder / "endorsement-keys.csv")


def test_devices_that_answer_are_in_the_table(site: Site) -> None:
    """Keys of devices that answer are kept although others do not; then they are enrolled."""
    site.write(TPM)
    fleet = load_fleet(site.file)
    ask = told_by({"press-02": Told("press-02", ENDORSEMENT_KEY)})
    found = ask_devices(fleet, fleet.devices, ask)
    assert found.collected == ("press-02",)
    assert sorted(found.failed) == ["press-01", "press-03"]
    assert keys(site) == {"press-02": ENDORSEMENT_KEY}
    assert site.stamp().pending == ("press-01", "press-03")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (Told("press-03", OTHER_KEY), "it says that it is 'press-03', expected 'press-02'"),
        (Told("press-02", ENDORSEMENT_KEY), "is that of 'press-01': the same machine"),
        (Told("press-02", "AAAA"), "endorsement key"),
        (Told("press-02", "?"), "base64"),
    ],
    ids=["another name", "another's key", "no key", "no base64"],
)
def test_a_wrong_answer_is_not_kept(site: Site, told: Told, reason: str) -> None:
    """What is not this device's key is told and stays out of the table."""
    site.write(TPM)
    fleet = load_fleet(site.file)
    first = {"press-01": Told("press-01", ENDORSEMENT_KEY), "press-02": told}
    found = ask_devices(fleet, fleet.devices[:2], told_by(first))
    assert reason in found.failed["press-02"]
    assert list(keys(site)) == ["press-01"]


def test_a_replaced_machine_is_noticed(site: Site) -> None:
    """Another key than the one in the table is refused until somebody takes that one out."""
    site.write(TPM)
    for key, expected in ((ENDORSEMENT_KEY, ()), (OTHER_KEY, ("press-01",))):
        fleet = load_fleet(site.file)
        ask = told_by({"press-01": Told("press-01", key)})
        found = ask_devices(fleet, fleet.devices[:1], ask)
        assert tuple(found.failed) == expected
    assert "another endorsement key is known" in found.failed["press-01"]
    assert keys(site) == {"press-01": ENDORSEMENT_KEY}


def test_sticks_bring_their_keys(site: Site, tmp_path: Path) -> None:
    """A stick is read where it is mounted, or as an image; one without the file is named."""
    site.write(TPM)
    mounted, empty = tmp_path / "mounted", tmp_path / "empty"
    mounted.mkdir()
    empty.mkdir()
    document = {"version": 1, "device": "press-01", "endorsement_key": ENDORSEMENT_KEY}
    (mounted / "device.json").write_text(json.dumps(document))
    document |= {"device": "press-02", "endorsement_key": OTHER_KEY}
    image = make_stick(tmp_path, {"device.json": json.dumps(document).encode()})
    found = read_sticks(load_fleet(site.file), [mounted, image, empty])
    assert found.collected == ("press-01", "press-02")
    assert "no device.json" in found.failed[str(empty)]


def test_a_fleet_without_tpms_has_nothing_to_collect(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verb says so, with status 1."""
    site.write(KEYS)
    assert cli.run(["collect", str(site.file), "--stick", str(site.folder)]) == 1
    assert "not attested by TPM" in capsys.readouterr().err


def test_a_host_is_given_for_a_device_of_the_fleet(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped `--host` asks nobody."""
    site.write(TPM)
    assert cli.run(["collect", str(site.file), "--host", "press-09=10.0.0.1"]) == 1
    assert "--host 'press-09=10.0.0.1' is not ID=HOST" in capsys.readouterr().err
