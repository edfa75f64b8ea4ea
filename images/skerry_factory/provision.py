"""Runs the roles, phase install, in the tree of an image: one Ansible run, no network.

A role's result is cached as a layer: the upper folder of the overlay after it, plus the layers
below. Its key holds all that the role may read: its folder, the variables whose names occur in the
role or the playbook, the packages given to it, and everything before it. So a change of one role's
setting runs that role and what follows.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skerry_factory.cache import Cache, digest_of_files, key_of
from skerry_factory.command import build_environment, run_command
from skerry_factory.errors import FactoryError
from skerry_factory.inputs import StepInputs
from skerry_factory.paths import Checkout, package_data
from skerry_factory.progress import StepReporter
from skerry_factory.tree import BUILD_FILES, enterable, mounted_tree

PLAYBOOK = "build_linux.yml"
STEP = "roles"
ISOLATED = ("unshare", "--net", "--ipc", "--uts")


@dataclass(frozen=True)
class RoleRun:
    """What the roles work with; `inputs` are digests of files behind a variable."""

    roles: tuple[str, ...]
    variables: Mapping[str, object]
    inputs: Mapping[str, str]


def role_inputs(run: RoleRun, base_key: str, checkout: Checkout) -> list[StepInputs]:
    """Return what goes into the layer after each role, in order."""
    playbook = (checkout.playbooks / PLAYBOOK).read_text("utf-8")
    everywhere = {name: value for name, value in run.variables.items() if name in playbook}
    wrapper = digest_of_files([package_data("chroot-wrapper"), package_data("callbacks")])
    key = key_of(base_key, playbook, wrapper, _resolved(everywhere, run.inputs))
    steps = []
    for role in run.roles:
        folder = checkout.roles / role
        text = _text_of(folder)
        seen = {name: value for name, value in run.variables.items() if name in text}
        values = {
            "what came before": key,
            "role": role,
            f"files of roles/{role}": digest_of_files([folder]),
            "variables": _resolved(seen, run.inputs),
        }
        steps.append(StepInputs(STEP, f"roles/{role}", values))
        key = steps[-1].key
    return steps


def run_roles(
    run: RoleRun,
    keys: Sequence[str],
    base: Path,
    build_files: Path,
    cache: Cache,
    checkout: Checkout,
    step: StepReporter,
) -> list[Path]:
    """Return the layers of the tree after all roles, lowest first; runs what is not cached.

    Roles that ended before one failed stay cached: the next build goes on behind them.
    """
    done = _cached_roles(keys, cache)
    below = layers_of(keys[done - 1], cache) if done else []
    if done == len(run.roles):
        step.done_as("cached")
        return [base, *below]
    work = cache.new_folder(STEP)
    snapshots = work / "snapshots"
    snapshots.mkdir()
    waiting = run.roles[done:]
    try:
        with mounted_tree([base, *below], work) as tree, enterable(tree.root, build_files):
            variables = {**run.variables, "image_roles": list(waiting)}
            _play(variables, tree.root, tree.upper, snapshots, checkout, step)
    except FactoryError:
        _store_ended(waiting, keys[done:], snapshots, below, cache)
        raise
    (work / "upper").rename(snapshots / waiting[-1])
    for role, key in zip(waiting, keys[done:], strict=True):
        if not (snapshots / role).is_dir():
            (snapshots / role).mkdir()
        _store(key, snapshots / role, below, cache)
    run_command(["rm", "-rf", str(work)])
    step.done_as(f"{len(waiting)} of {len(run.roles)} roles ran: {', '.join(waiting)}")
    return [base, *layers_of(keys[-1], cache)]


def _cached_roles(keys: Sequence[str], cache: Cache) -> int:
    for count in range(len(keys), 0, -1):
        if cache.has(STEP, keys[count - 1]):
            return count
    return 0


def layers_of(key: str, cache: Cache) -> list[Path]:
    """Return the layers that end with the role of this key, lowest first, without the base."""
    entry = cache.entry(STEP, key)
    below = json.loads((entry / "below.json").read_text("utf-8"))
    return [*(cache.root / name for name in below), entry / "upper"]


def _store_ended(
    roles: Sequence[str],
    keys: Sequence[str],
    snapshots: Path,
    below: Sequence[Path],
    cache: Cache,
) -> None:
    """Keep what the roles before the failing one made; a snapshot is taken when the next begins."""
    for role, key in zip(roles, keys, strict=True):
        if not (snapshots / role).is_dir():
            return
        _store(key, snapshots / role, below, cache)


def _store(key: str, upper: Path, below: Sequence[Path], cache: Cache) -> None:
    entry = cache.new_folder(STEP)
    upper.rename(entry / "upper")
    names = [str(layer.relative_to(cache.root)) for layer in below]
    (entry / "below.json").write_text(json.dumps(names), "utf-8")
    cache.store(STEP, key, entry)


def _play(
    variables: Mapping[str, object],
    root: Path,
    upper: Path,
    snapshots: Path,
    checkout: Checkout,
    step: StepReporter,
) -> None:
    private = snapshots.parent / "ansible"
    private.mkdir()
    (private / "ansible.cfg").touch()
    (private / "vars.json").write_text(json.dumps(variables), "utf-8")
    host = {"ansible_connection": "community.general.chroot", "ansible_host": str(root)}
    inventory = {"all": {"hosts": {"image": host}}}
    (private / "inventory.json").write_text(json.dumps(inventory), "utf-8")
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [*ISOLATED, str(program), "-i", str(private / "inventory.json")]
    command += ["-e", f"@{private / 'vars.json'}", str(checkout.playbooks / PLAYBOOK)]
    environment = build_environment(
        {
            "PATH": f"{program.parent}:{build_environment()['PATH']}",
            "HOME": str(private),
            "ANSIBLE_HOME": str(private),
            "ANSIBLE_CONFIG": str(private / "ansible.cfg"),
            "ANSIBLE_ROLES_PATH": str(checkout.roles),
            "ANSIBLE_CHROOT_EXE": str(package_data("chroot-wrapper")),
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_GATHERING": "explicit",
            "ANSIBLE_REMOTE_TEMP": "/tmp/.ansible",  # noqa: S108 - in the tree, a tmpfs of this run
            "ANSIBLE_CALLBACK_PLUGINS": str(package_data("callbacks")),
            "ANSIBLE_STDOUT_CALLBACK": "skerry_build",
            "ANSIBLE_NOCOLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SKERRY_SNAPSHOTS": str(snapshots),
            "SKERRY_UPPER": str(upper),
        }
    )
    with (private / "talk").open("w+", encoding="utf-8") as talk:
        with subprocess.Popen(
            command,
            env=environment,
            cwd=private,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=talk,
            text=True,
            errors="replace",
        ) as player:
            failures = _follow(player, step)
        talk.seek(0)
        if player.returncode != 0 or failures:
            said = failures or talk.read().strip().splitlines()[-20:]
            told = "".join(f"\n    {line}" for line in said)
            raise FactoryError(f"the roles failed (ansible-playbook {player.returncode}){told}")


def _follow(player: "subprocess.Popen[str]", step: StepReporter) -> list[str]:
    failures = []
    for line in player.stdout or ():
        if not line.startswith("{"):
            failures += [line.rstrip()] if "ERROR" in line else []
            continue
        event = json.loads(line)
        if "failure" in event:
            failures += [f"task {event['task']!r}", *event["failure"].splitlines()]
        elif event.get("task"):
            step.waits_for(event["task"])
    return failures


def _text_of(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "\n".join(path.read_text("utf-8", "replace") for path in files)


def _resolved(
    variables: Mapping[str, object], inputs: Mapping[str, str]
) -> dict[str, tuple[object, str]]:
    return {name: (value, inputs.get(name, "")) for name, value in variables.items()}


def paths_in_image() -> dict[str, object]:
    """Return the variables that name what the build mounts into the tree for the roles."""
    folder = Path("/") / BUILD_FILES
    return {
        "runtime_package": str(folder / "skerry.deb"),
        "preload_folder": str(folder / "preload"),
    }
