"""Modules as the management API writes them, and the names that make a container ours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from skerry.base.fields import table, text
from skerry.base.http import HttpError
from skerry.base.secret_file import is_name
from skerry.engine.model import Container, RegistryAuth, State
from skerry.workloads.settings import PullPolicy
from skerry.workloads.spelling import spelled_options
from skerry.workloads.times import rfc3339
from skerry.workloads.trust import Signature

OWNER_LABEL = "net.azure-devices.edge.owner"
OWNER = "Microsoft.Azure.Devices.Edge.Agent"
OWNED = f"{OWNER_LABEL}={OWNER}"
IMAGE_LABEL = "net.azure-devices.edge.original-image"
CREATE_OPTIONS_LABEL = "net.azure-devices.edge.create-options"
ENV_LABEL = "net.azure-devices.edge.env"
AGENT = "edgeAgent"
SYSTEM_MODULES = frozenset({AGENT, "edgeHub"})

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}")
_MAX_BYTES = 255


@dataclass(frozen=True)
class ModuleSpec:
    """A module as the agent wants it."""

    name: str
    image: str
    create_options: Mapping[str, object] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    auth: RegistryAuth | None = None
    pull_policy: PullPolicy = PullPolicy.ON_CREATE
    secrets: tuple[str, ...] = ()
    signatures: tuple[Signature, ...] = ()
    configured: bool = False
    """Whether config.toml names the image: who writes that decides on trust anyway."""


def identity_of(module: str) -> str:
    """Return the identity of a module: system modules have a dollar sign before their name."""
    return f"${module}" if module in SYSTEM_MODULES else module


def module_of(identity: str) -> str:
    """Return the module, which is also the container, of an identity."""
    return identity.removeprefix("$")


def check_name(name: str) -> str:
    """Return the name if it may name a container, and so a folder; raises HttpError 400."""
    if _NAME.fullmatch(name) is None:
        raise HttpError(
            400,
            f"module name {name!r} is not usable; expected 2 to 128 letters, digits, "
            "'_', '.' and '-', a letter or digit first",
        )
    return name


def parse_spec(body: Mapping[str, object]) -> ModuleSpec:
    """Read a ModuleSpec; raises HttpError 400 or 422."""
    kind = text(body, "type")
    if kind != "docker":
        raise HttpError(400, f"module type {kind!r} is not known; expected 'docker'")
    config = table(body, "config")
    settings = table(config, "settings")
    policy = body.get("imagePullPolicy") or PullPolicy.ON_CREATE
    if policy not in PullPolicy.__members__.values():
        raise HttpError(422, f"imagePullPolicy {policy!r} is not 'on-create' or 'never'")
    image = text(settings, "image")
    if not image:
        raise HttpError(400, "config.settings.image is empty; expected the name of an image")
    return ModuleSpec(
        name=check_name(text(body, "name")),
        image=image,
        create_options=_create_options(settings),
        env=_env(config.get("env") or []),
        auth=_auth(_optional_table(settings, "auth")),
        pull_policy=PullPolicy(str(policy)),
        secrets=_secrets(config.get("secrets") or []),
        signatures=_signatures(config.get("signatures") or []),
    )


def runtime_status(state: State) -> str:
    """Return the management API's word for a container's state."""
    if state.status in {"created", "paused", "restarting"}:
        return "stopped"
    if state.status in {"exited", "removing"}:
        return "failed" if state.exit_code else "stopped"
    return state.status if state.status in {"dead", "running"} else "unknown"


def details(container: Container) -> dict[str, object]:
    """Return ModuleDetails; the labels stand where upstream's agent looks for them."""
    state = container.state
    status: dict[str, object] = {}
    if state.started_at is not None:
        status["startTime"] = rfc3339(state.started_at)
    if state.finished_at is not None:
        status["exitStatus"] = {
            "exitTime": rfc3339(state.finished_at),
            "statusCode": str(state.exit_code),
        }
    description = f"{state.status}: {state.error}" if state.error else state.status
    running = {"status": runtime_status(state), "description": description}
    if state.health:
        running["health"] = state.health
    status["runtimeStatus"] = running
    return {
        "id": "id",
        "name": container.name,
        "type": "docker",
        "config": {
            "settings": {
                "image": container.labels.get(IMAGE_LABEL, container.image),
                "imageHash": container.image_id,
                "createOptions": {"Labels": dict(container.labels)},
            },
            "env": [],
        },
        "status": status,
    }


def _env(entries: object) -> dict[str, str]:
    if not isinstance(entries, list):
        raise HttpError(422, "config.env is not an array")
    env: dict[str, str] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise HttpError(422, f'config.env has {entry!r}, expected {{"key", "value"}}')
        key = text(entry, "key")
        if key in env:
            raise HttpError(400, f"config.env names {key!r} twice")
        env[key] = text(entry, "value")
    return env


def _secrets(names: object) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(n, str) and is_name(n) for n in names):
        raise HttpError(422, f"config.secrets is {names!r}, expected an array of names of secrets")
    return tuple(dict.fromkeys(names))


def _signatures(entries: object) -> tuple[Signature, ...]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise HttpError(422, "config.signatures is not an array of objects")
    return tuple(Signature(text(entry, "payload"), text(entry, "signature")) for entry in entries)


def _auth(fields: Mapping[str, object]) -> RegistryAuth | None:
    given = {name: value for name, value in fields.items() if isinstance(value, str)}
    return RegistryAuth(given) if given else None


def _create_options(settings: Mapping[str, object]) -> dict[str, object]:
    try:
        return spelled_options(_optional_table(settings, "createOptions"))
    except ValueError as error:
        raise HttpError(422, f"createOptions are not those of a container: {error}") from error


def _optional_table(body: Mapping[str, object], name: str) -> dict[str, object]:
    return {} if body.get(name) is None else table(body, name)
