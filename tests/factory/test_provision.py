"""Keys of role layers: a role runs again when, and only when, something it may read has changed."""

from pathlib import Path

import pytest

from skerry_factory.paths import Checkout
from skerry_factory.provision import RoleRun, role_inputs

ROLES = ("base", "runtime", "seal")
FILES = {
    "playbooks/build_linux.yml": "roles: '{{ image_roles }}' {{ image_phase }}\n",
    "roles/base/tasks/main.yml": "- timezone: '{{ image_timezone }}'\n",
    "roles/runtime/tasks/main.yml": "- deb: '{{ runtime_package }}'\n- x: '{{ runtime_level }}'\n",
    "roles/seal/tasks/main.yml": "- debug:\n",
}
VARIABLES: dict[str, object] = {
    "image_phase": "install",
    "image_timezone": "UTC",
    "runtime_package": "/x.deb",
    "runtime_level": "info",
    "nobody_reads_this": 1,
}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return Checkout(tmp_path)


def keys(checkout: Checkout, base: str = "b", package: str = "p", **changed: object) -> list[str]:
    run = RoleRun(ROLES, {**VARIABLES, **changed}, {"runtime_package": package})
    return [step.key for step in role_inputs(run, base, checkout)]


def rerun(before: list[str], after: list[str]) -> list[str]:
    """Return the roles whose layer is another one."""
    return [role for role, a, b in zip(ROLES, before, after, strict=True) if a != b]


def test_the_same_inputs_give_the_same_keys(checkout: Checkout) -> None:
    """Keys are a pure function of files, variables and digests."""
    assert keys(checkout) == keys(checkout)


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({"runtime_level": "debug"}, ["runtime", "seal"]),
        ({"image_timezone": "Europe/Oslo"}, ["base", "runtime", "seal"]),
        ({"image_phase": "activate"}, ["base", "runtime", "seal"]),
        ({"nobody_reads_this": 2}, []),
        ({"package": "q"}, ["runtime", "seal"]),
        ({"base": "c"}, ["base", "runtime", "seal"]),
    ],
    ids=[
        "a setting of one role",
        "a setting of the first role",
        "what the playbook reads",
        "what nobody reads",
        "the package that a role installs",
        "the packages of the tree",
    ],
)
def test_a_change_runs_what_follows(
    checkout: Checkout, changed: dict[str, str], again: list[str]
) -> None:
    """A changed input runs the roles that may read it, and all after them."""
    assert rerun(keys(checkout), keys(checkout, **changed)) == again


def test_a_changed_role_runs_again(checkout: Checkout) -> None:
    """A file of a role is an input of its layer."""
    before = keys(checkout)
    (checkout.roles / "runtime/tasks/main.yml").write_text("- debug: changed\n")
    assert rerun(before, keys(checkout)) == ["runtime", "seal"]
