"""The hardening: every rule of the baselines is set, met or deviated from, with a reason."""

from pathlib import Path
from typing import Any

import pytest
import yaml

VARS = Path(__file__).resolve().parents[3] / "roles" / "hardening" / "vars"
ABSENT = {"sysctl-18", "package-04", "sshd-26"}
"""Numbers that the baselines do not use."""


def numbered(kind: str, last: int) -> set[str]:
    return {f"{kind}-{number:02}" for number in range(1, last + 1)}


BASELINE = (
    numbered("os", 16)
    | numbered("package", 10)
    | (numbered("sysctl", 34) - {"sysctl-31"} | {"sysctl-31a", "sysctl-31b"})
    | numbered("sshd", 48)
) - ABSENT
"""Rules of dev-sec's linux-baseline and ssh-baseline; os-05b is Red Hat's."""


def load(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((VARS / f"{name}.yml").read_text())[
        f"__hardening_{'settings' if name == 'main' else name}"
    ]
    return found


def ids(name: str) -> set[str]:
    return {rule["id"] for rule in load(name)}


def test_every_rule_of_the_baselines_has_an_answer() -> None:
    """No rule is forgotten, and none is made up."""
    assert ids("main") | ids("met") | ids("deviations") - {"os-10-squashfs"} == BASELINE


def test_what_is_met_is_neither_set_nor_deviated_from() -> None:
    """A rule has one answer; only one that is milder at first has two."""
    assert ids("met") & (ids("main") | ids("deviations")) == set()
    deviated = {rule["id"] for rule in load("deviations") if rule["level"] == "all"}
    assert ids("main") & deviated == {"os-10"}


def test_a_milder_setting_is_a_deviation() -> None:
    """What `standard` leaves out or does in part is in the list, with a reason."""
    milder = {rule["id"] for rule in load("main") if rule["level"] == "strict" or "strict" in rule}
    told = {rule["id"] for rule in load("deviations") if rule["level"] == "standard"}
    assert milder - {"os-10"} == told - {"os-10-squashfs"}


@pytest.mark.parametrize("name", ["deviations", "met"])
def test_everything_has_its_reason(name: str) -> None:
    """A reason is a sentence, who keeps a rule is named."""
    for rule in load(name):
        assert len(str(rule.get("reason", rule.get("by")))) > 4, rule["id"]


def test_packets_of_containers_are_forwarded() -> None:
    """No setting turns off what the engine and the gateway live by."""
    lines = [line for rule in load("main") for line in rule["lines"] + rule.get("strict", [])]
    assert not [line for line in lines if "forward" in line and line.startswith("net.")]
