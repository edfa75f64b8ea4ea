"""deployment.json: upstream's manifest, made from [agent], [modules] and [hub]."""

import json
from collections.abc import Mapping

from skerry.config.model import Agent, Config, Hub, Module, RegistryAuth, Standalone

_DEFAULT_REGISTRY = "docker.io"


def deployment(config: Config) -> dict[str, object] | None:
    """Return the deployment; None where only the cloud has one to give."""
    if (
        not config.modules
        and config.hub is None
        and not isinstance(config.provisioning, Standalone)
    ):
        return None
    agent: dict[str, object] = {
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": _runtime(config.modules)},
        "systemModules": _system_modules(config.agent, config.hub),
        "modules": {module.name: _module(module) for module in config.modules},
    }
    if config.trial_seconds is not None:
        agent["trialSeconds"] = config.trial_seconds
    return {
        "modulesContent": {
            "$edgeAgent": {"properties.desired": agent},
            "$edgeHub": {"properties.desired": _hub(config.hub or Hub())},
        }
    }


def _runtime(modules: tuple[Module, ...]) -> dict[str, object]:
    credentials = {
        module.name: _credentials(module.image, module.auth)
        for module in modules
        if module.auth is not None
    }
    return {"registryCredentials": credentials} if credentials else {}


def _credentials(image: str, auth: RegistryAuth) -> dict[str, object]:
    return {
        "address": auth.serveraddress or registry_of(image),
        "username": auth.username,
        "password": None if auth.password is None else auth.password.reveal(),
    }


def registry_of(image: str) -> str:
    """Return the registry of an image, by Docker's rule: a first part with a dot, colon or port."""
    first, slash, _ = image.partition("/")
    named = bool(slash) and (first == "localhost" or "." in first or ":" in first)
    return first if named else _DEFAULT_REGISTRY


def _system_modules(agent: Agent, hub: Hub | None) -> dict[str, object]:
    modules: dict[str, object] = {
        "edgeAgent": {
            "type": agent.type,
            "imagePullPolicy": agent.pull_policy.value,
            "settings": _settings(agent.image, agent.create_options),
            **_env(agent.env),
        }
    }
    if hub is not None and hub.image is not None:
        modules["edgeHub"] = {
            "type": "docker",
            "status": "running",
            "restartPolicy": "always",
            "startupOrder": 0,
            "settings": _settings(hub.image, hub.create_options),
            **_env(hub.env),
        }
    return modules


def _module(module: Module) -> dict[str, object]:
    table: dict[str, object] = {
        "type": "docker",
        "status": module.status.value,
        "restartPolicy": module.restart_policy.value,
        "imagePullPolicy": module.pull_policy.value,
        "settings": _settings(module.image, module.create_options),
        **_env(module.env),
    }
    if module.startup_order is not None:
        table["startupOrder"] = module.startup_order
    if module.depends_on:
        table["dependsOn"] = list(module.depends_on)
    if module.readiness is not None:
        table["readiness"] = dict(module.readiness)
    if module.secrets:
        table["secrets"] = list(module.secrets)
    if module.signatures:
        table["signatures"] = [dict(one) for one in module.signatures]
    return table


def _settings(image: str, create_options: Mapping[str, object]) -> dict[str, object]:
    options = json.dumps(create_options, separators=(",", ":"), ensure_ascii=False)
    return {"image": image, "createOptions": options}


def _env(env: Mapping[str, str]) -> dict[str, object]:
    return {"env": {name: {"value": value} for name, value in env.items()}} if env else {}


def _hub(hub: Hub) -> dict[str, object]:
    store: dict[str, object] = {"timeToLiveSecs": hub.time_to_live_seconds}
    if hub.max_bytes is not None:
        store["storeLimits"] = {"maxSizeBytes": hub.max_bytes}
    if hub.when_full is not None:
        store["whenFull"] = hub.when_full
    return {
        "schemaVersion": "1.1",
        "routes": dict(hub.routes),
        "storeAndForwardConfiguration": store,
    }
