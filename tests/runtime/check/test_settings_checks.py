"""Checks of settings, names and versions on a configuration that was applied; both verdicts."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.checked import CONFIG, Checked, checked
from skerry.check.discover import all_checks
from skerry.check.model import Result

SERVICES = ("keyd", "certd", "identityd", "tpmd", "edged")
Plant = Callable[[Checked], object]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Checked]:
    with checked(tmp_path) as made:
        yield made


def well_formed(service: str) -> str:
    return f"{'aziot-' if service == 'edged' else ''}{service}-config-well-formed"


def beside(house: Checked, service: str, text: str) -> None:
    """Lay one more file beside the settings of a service."""
    house.machine.write(f"etc/skerry/{service}/config.d/50-more.toml", text)


def in_force(house: Checked, name: str) -> Path:
    return house.machine.paths.current / name


def changed(house: Checked, old: str, new: str) -> None:
    path = house.machine.paths.installed
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def lost(house: Checked) -> None:
    link = house.machine.paths.current
    link.unlink()
    link.symlink_to("generations/9")


def called(house: Checked, name: str) -> None:
    house.configure(CONFIG.replace('hostname = "house"', f'hostname = "{name}"', 1))


def below(house: Checked, parent: str) -> None:
    beside(house, "identityd", f'[provisioning]\nlocal_gateway_hostname = "{parent}"\n')


def test_settings_in_force_are_well_formed(house: Checked) -> None:
    """By each service's own parser."""
    for service in SERVICES:
        assert house.machine.find(well_formed(service)).result is Result.OK


def test_what_was_applied_is_well(house: Checked) -> None:
    """In force, whole, without problems, for this machine."""
    for check_id in ("configuration", "generation-intact", "config-valid", "hostname"):
        found = house.machine.find(check_id)
        assert (found.result, found.cause, found.remedy) == (Result.OK, "", ""), found


def test_settings_that_are_no_toml_are_named(house: Checked) -> None:
    """With the file that is wrong."""
    for service in SERVICES:
        beside(house, service, "= nonsense")
        found = house.machine.find(well_formed(service))
        assert found.result is Result.ERROR
        assert f"{service}/config.d/50-more.toml" in found.cause


def test_a_lost_link_can_be_made_anew(house: Checked) -> None:
    """By systemd-tmpfiles, which knows the package's links."""
    for service in SERVICES:
        (house.machine.paths.etc / service / "config.d" / "00-super.toml").unlink()
        found = house.machine.find(well_formed(service))
        assert (found.result, "is missing" in found.cause) == (Result.ERROR, True)
        assert found.fix is not None
        found.fix.run()
        assert house.machine.units.told[-1] == "systemd-tmpfiles --create skerry.conf"


FAULTS: list[tuple[str, Plant, Result, str]] = [
    ("configuration", lost, Result.ERROR, "leads nowhere"),
    (
        "configuration",
        lambda h: h.machine.paths.current.unlink(),
        Result.ERROR,
        "does not exist",
    ),
    (
        "generation-intact",
        lambda h: in_force(h, "keyd.toml").write_text("\n"),
        Result.ERROR,
        "not as it was written",
    ),
    ("generation-intact", lost, Result.ERROR, "no generation that can be read"),
    (
        "config-valid",
        lambda h: changed(h, "hostname", "hostnam"),
        Result.ERROR,
        "problem",
    ),
    (
        "configs-up-to-date",
        lambda h: changed(h, '"house"', '"home"'),
        Result.WARNING,
        "changed after it was applied",
    ),
    (
        "configs-up-to-date",
        lambda h: h.machine.paths.current.unlink(),
        Result.WARNING,
        "was never applied",
    ),
    ("hostname", lambda h: called(h, "other"), Result.ERROR, "the machine says 'house'"),
    (
        "hostname",
        lambda h: beside(h, "edged", 'hostname = "house.my_site"'),
        Result.WARNING,
        "RFC 1035",
    ),
    ("hostname", lambda h: called(h, "house." + "a" * 60), Result.WARNING, "66 characters"),
    ("parent_hostname", lambda h: below(h, "my_parent"), Result.WARNING, "RFC 1035"),
    ("parent_hostname", lambda h: below(h, "p" * 65), Result.ERROR, "65 characters"),
]


@pytest.mark.parametrize(
    ("check_id", "plant", "result", "said"), FAULTS, ids=[f"{one[0]}: {one[3]}" for one in FAULTS]
)
def test_what_is_wrong_is_named(
    house: Checked, check_id: str, plant: Plant, result: Result, said: str
) -> None:
    """With its cause and what helps."""
    plant(house)
    found = house.machine.find(check_id)
    assert (found.result, said in found.cause) == (result, True), found
    assert found.remedy


@pytest.mark.parametrize(
    ("check_id", "prepare"),
    [
        ("configs-up-to-date", lambda h: h.serve("keyd")),
        ("hostname", lambda h: called(h, "house.site.example")),
        ("hostname", lambda h: called(h, "10.0.0.7")),
        ("parent_hostname", lambda h: below(h, "parent.example")),
        ("parent_hostname", lambda h: below(h, "10.0.0.8")),
    ],
)
def test_what_is_well_is_well(house: Checked, check_id: str, prepare: Plant) -> None:
    """No cause, nothing to do."""
    prepare(house)
    found = house.machine.find(check_id)
    assert (found.result, found.cause, found.remedy) == (Result.OK, "", ""), found


@pytest.mark.parametrize(
    ("check_id", "prepare", "result"),
    [
        ("parent_hostname", lambda h: None, Result.IGNORED),
        ("config-valid", lambda h: h.machine.paths.installed.unlink(), Result.IGNORED),
        ("configs-up-to-date", lambda h: h.machine.paths.installed.unlink(), Result.IGNORED),
        ("configs-up-to-date", lambda h: None, Result.SKIPPED),
        ("config-up-to-date", lambda h: None, Result.SKIPPED),
        ("aziot-version", lambda h: None, Result.IGNORED),
        ("aziot-edge-version", lambda h: below(h, "parent"), Result.IGNORED),
    ],
)
def test_what_cannot_be_told_is_not_judged(
    house: Checked, check_id: str, prepare: Plant, result: Result
) -> None:
    """Nothing of the kind here, or nobody who answers; it says which."""
    prepare(house)
    found = house.machine.find(check_id)
    assert found.result is result
    assert found.cause


def test_a_service_with_older_settings_is_restarted(house: Checked) -> None:
    """It tells the digest of what it runs with."""
    house.serve("keyd")
    beside(house, "keyd", "\n# changed\n")
    found = house.machine.find("configs-up-to-date")
    assert (found.result, "keyd runs with older settings" in found.cause) == (Result.WARNING, True)
    assert found.fix is not None
    found.fix.run()
    assert house.machine.units.told == ["systemctl restart skerry-keyd.service"]


def test_a_version_is_compared_with_the_one_named(house: Checked) -> None:
    """By major and minor, as upstream does."""
    plain = house.machine.appliance()
    checks = [one for one in all_checks() if one.id in {"aziot-version", "aziot-edge-version"}]
    assert len(checks) == 2
    for wanted, result in (("0.1.7", Result.OK), ("1.5.0", Result.WARNING)):
        options = replace(plain.options, expected_version=wanted)
        appliance = replace(plain, options=options)
        assert {check.run(appliance).result for check in checks} == {result}
