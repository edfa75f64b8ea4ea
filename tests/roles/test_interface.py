"""Every role has one shape: argument specs equal to its defaults, phases, packages as data."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if (path / "tasks").is_dir())
MISSING = object()


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8")) if path.is_file() else None


def options_of(role: str) -> dict[str, dict[str, Any]]:
    specs = load(ROLES / role / "meta" / "argument_specs.yml")
    found: dict[str, dict[str, Any]] = specs["argument_specs"]["main"]["options"]
    return found


def tasks_of(role: str) -> list[dict[str, Any]]:
    files = sorted((ROLES / role / "tasks").glob("*.yml"))
    return [task for file in files for task in load(file)]


@pytest.mark.parametrize("role", NAMES)
def test_defaults_equal_the_argument_specs(role: str) -> None:
    """Each default is in both files with the same value, and a required option has none."""
    defaults = load(ROLES / role / "defaults" / "main.yml") or {}
    specified = {
        name: option.get("default", MISSING)
        for name, option in options_of(role).items()
        if not option.get("required", False)
    }
    assert defaults == specified


@pytest.mark.parametrize("role", NAMES)
def test_every_option_is_described_and_typed(role: str) -> None:
    """Options have a type and a description, those inside of lists too."""
    waiting = list(options_of(role).items())
    for name, option in waiting:
        assert option.get("type"), name
        assert option.get("description"), name
        waiting += option.get("options", {}).items()


@pytest.mark.parametrize("role", [name for name in NAMES if name != "phase"])
def test_every_role_requires_the_phase(role: str) -> None:
    """A role does not guess whether it works on a running system."""
    assert options_of(role)["phase_booted"]["required"] is True


@pytest.mark.parametrize("role", NAMES)
def test_public_variables_begin_with_the_name_of_the_role(role: str) -> None:
    """Options are `<role>_<noun>`, apart from the phase that all roles share."""
    strangers = [
        name
        for name in options_of(role)
        if not name.startswith(f"{role}_") and name != "phase_booted"
    ]
    assert strangers == []


@pytest.mark.parametrize("role", [name for name in NAMES if (ROLES / name / "vars").is_dir()])
def test_internal_variables_are_marked(role: str) -> None:
    """What a role keeps to itself is `__<role>_<noun>`."""
    for file in (ROLES / role / "vars").glob("*.yml"):
        assert [name for name in load(file) if not name.startswith(f"__{role}_")] == []


@pytest.mark.parametrize("role", NAMES)
def test_the_system_is_chosen_by_its_family(role: str) -> None:
    """tasks/main.yml includes the tasks of one operating system by the fact os_family."""
    main = load(ROLES / role / "tasks" / "main.yml")
    assert any("os_family" in str(task.get("when")) for task in main)


@pytest.mark.parametrize("role", NAMES)
def test_packages_are_data(role: str) -> None:
    """The factory's list and the role's own package task are the same list."""
    names = [task["ansible.builtin.apt"].get("name") for task in tasks_of(role) if is_apt(task)]
    wanted = [f"{{{{ __{role}_packages }}}}"] if any(names) else []
    assert [name for name in names if name] == wanted
    if wanted:
        packages = load(ROLES / role / "vars" / "packages.yml")[f"__{role}_packages"]
        assert packages == sorted(packages)


def is_apt(task: dict[str, Any]) -> bool:
    return "ansible.builtin.apt" in task


@pytest.mark.parametrize("role", NAMES)
def test_a_package_task_starts_nothing(role: str) -> None:
    """Services of new packages are started by phase activate, never by the package."""
    tasks = [task for task in tasks_of(role) if is_apt(task)]
    assert [
        task["name"] for task in tasks if task["ansible.builtin.apt"]["policy_rc_d"] != 101
    ] == []


@pytest.mark.parametrize("role", NAMES)
def test_phase_install_touches_no_running_service(role: str) -> None:
    """Nothing in install.yml asks for the state of a service: it works in a tree."""
    install = load(ROLES / role / "tasks" / "install.yml") or []
    states = [
        task["name"]
        for task in install
        if "state" in task.get("ansible.builtin.systemd_service", {})
    ]
    assert states == []


@pytest.mark.parametrize("role", NAMES)
def test_handlers_run_on_booted_systems_only(role: str) -> None:
    """Every handler is conditional on the phase."""
    handlers = load(ROLES / role / "handlers" / "main.yml") or []
    assert [task["name"] for task in handlers if "phase_booted" not in task["when"]] == []


@pytest.mark.parametrize("role", NAMES)
def test_task_files_stay_short(role: str) -> None:
    """A task file has at most 80 lines."""
    files = (ROLES / role / "tasks").glob("*.yml")
    assert [file.name for file in files if len(file.read_text().splitlines()) > 80] == []
