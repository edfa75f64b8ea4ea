"""From a module to the body of a container: environment, labels, rights, network, sockets, secrets.

Pure. createOptions are in the engine's own JSON and are passed on whole; only what edged stands for
is laid over them. Every module gets its own folder of sockets as /run/iotedge, read-only: a folder
and not the socket itself, so that sockets made anew by a restarted edged appear in containers that
kept running, and so that the engine never makes a directory where a socket should be.
"""

import copy
import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skerry.workloads.model import IMAGE_LABEL, OWNER, OWNER_LABEL, ModuleSpec
from skerry.workloads.spelling import spelled

SOCKET_FOLDER = "/run/iotedge"
SECRETS_FOLDER = "/run/secrets"
WORKLOAD_URI = f"unix://{SOCKET_FOLDER}/workload.sock"
MANAGEMENT_URI = f"unix://{SOCKET_FOLDER}/mgmt.sock"

_TAKEN_TARGETS: tuple[str, ...] = ("/run/iotedge", "/var/run/iotedge")
_SECRETS_TARGETS = ("/run/secrets", "/var/run/secrets")
_WITHHELD = ("CHOWN", "SETUID")


def create_body(
    spec: ModuleSpec,
    *,
    image: str,
    sockets: Path,
    network: str,
    elevated_permissions: bool,
    labels: Mapping[str, str] | None = None,
    secrets: Path | None = None,
) -> dict[str, object]:
    """Return the body of a container's creation; `image` is the name that the engine knows."""
    body: dict[str, Any] = spelled(copy.deepcopy(dict(spec.create_options)))
    body["Image"] = image
    body["Env"] = merged_env(spec.env, body.get("Env") or [])
    body["Labels"] = {
        **(body.get("Labels") or {}),
        **(labels or {}),
        OWNER_LABEL: OWNER,
        IMAGE_LABEL: spec.image,
    }
    host: dict[str, Any] = spelled(body.get("HostConfig") or {})
    if not elevated_permissions:
        _withhold_rights(host)
    ours, taken = {SOCKET_FOLDER: sockets}, _TAKEN_TARGETS
    if secrets is not None:
        ours, taken = {**ours, SECRETS_FOLDER: secrets}, (*taken, *_SECRETS_TARGETS)
    mounts = [
        {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": True}
        for target, source in ours.items()
    ]
    host["Mounts"] = [*_other_mounts(host.get("Mounts"), taken), *mounts]
    if "Binds" in host:
        binds = host["Binds"] or []
        host["Binds"] = [bind for bind in binds if not _takes(_bind_target(bind), taken)]
    body["HostConfig"] = host
    _attach(body, host, network)
    return body


def merged_env(env: Mapping[str, str], options: list[str]) -> list[str]:
    """Return `K=V` lines sorted by name; createOptions' own replace those of the same name."""
    lines = {name: f"{name}={value}" for name, value in env.items()}
    lines |= {line.partition("=")[0]: line for line in options}
    return [lines[name] for name in sorted(lines)]


def _withhold_rights(host: dict[str, Any]) -> None:
    asked = {name.upper().removeprefix("CAP_") for name in host.pop("CapAdd", None) or []}
    dropped = list(host.get("CapDrop") or [])
    known = {name.upper().removeprefix("CAP_") for name in dropped}
    host["Privileged"] = False
    host["CapDrop"] = dropped + [name for name in _WITHHELD if name not in asked | known]


def _attach(body: dict[str, Any], host: Mapping[str, Any], network: str) -> None:
    networking = spelled(body.get("NetworkingConfig") or {})
    if networking.get("EndpointsConfig") or host.get("NetworkMode") not in {None, "", "default"}:
        return
    body["NetworkingConfig"] = {**networking, "EndpointsConfig": {network: {}}}
    # without it the engine would attach its default bridge as well
    host_config: dict[str, Any] = body["HostConfig"]
    host_config["NetworkMode"] = network


def _other_mounts(
    mounts: list[dict[str, Any]] | None, taken: tuple[str, ...]
) -> list[dict[str, Any]]:
    given = [spelled(mount) for mount in mounts or []]
    return [mount for mount in given if not _takes(str(mount.get("Target", "")), taken)]


def _bind_target(bind: str) -> str:
    parts = bind.split(":")
    return parts[1] if len(parts) > 1 else ""


def _takes(target: str, taken: tuple[str, ...]) -> bool:
    """Tell whether a mount would lie on one of ours, as those that upstream's agent adds do."""
    target = "/" + posixpath.normpath(target).lstrip("/")
    return any(target == ours or target.startswith(f"{ours}/") for ours in taken)
