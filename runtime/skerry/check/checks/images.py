"""Images: the agent's is there, what the appliance carries is whole, all are for this machine."""

import hashlib
import json
import os
from pathlib import Path

from skerry.check.appliance import Appliance, table
from skerry.check.checks.modules import deployment_of
from skerry.check.model import Check, Finding, Fix, Section, error, ignored, ok, skipped, worst
from skerry.engine.errors import EngineError, EngineNotFoundError
from skerry.workloads.errors import ImageError
from skerry.workloads.images import read_preload

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
_OURS = "localhost/"
_BLOCK_BYTES = 1 << 20


def agent_image(appliance: Appliance) -> str:
    """Return the reference of the agent's image."""
    config = table(table(appliance.settings("edged"), "agent"), "config")
    return str(config.get("image", ""))


def _agent(appliance: Appliance) -> Finding:
    reference = agent_image(appliance)
    try:
        found = appliance.engine().describe_image(reference)
    except EngineNotFoundError:
        carried = reference in read_preload(appliance.images)
        if carried:
            return error(
                f"the agent's image {reference} is carried by the appliance, and not in the engine",
                "skerry check --fix, or: sudo systemctl restart skerry-edged (it loads what lacks)",
                fix=Fix(
                    "restarted edged, which loads the images of the appliance",
                    lambda: _restart(appliance),
                ),
            )
        if reference.startswith(_OURS):
            return error(
                f"the agent's image {reference} is neither in the engine nor in {appliance.images}",
                "install the package or image of this appliance again, or: docker load --input "
                "agent.tar",
            )
        return error(
            f"the agent's image {reference} is not on this device yet",
            "see why it does not arrive: journalctl -u skerry-edged; check the registry's name, "
            "[agent.config.auth] and the network",
        )
    return ok(f"{reference} {str(found.get('Id', ''))[:19]}")


def _restart(appliance: Appliance) -> None:
    appliance.units.run("systemctl", "restart", "skerry-edged.service")


def _architecture(appliance: Appliance) -> Finding:
    machine = _MACHINES.get(os.uname().machine, os.uname().machine)
    found, seen = [], 0
    for reference in sorted(_references(appliance)):
        try:
            image = appliance.engine().describe_image(reference)
        except EngineNotFoundError:
            continue
        theirs = str(image.get("Architecture") or machine)
        seen += 1
        if theirs != machine:
            found.append(
                error(
                    f"image {reference} is for {theirs}, this machine is {machine}: it cannot run",
                    f"deploy an image for {machine}, or a tag that carries several architectures",
                )
            )
    return worst(found, ok(f"{seen} images for {machine}") if seen else skipped("no image yet"))


def _references(appliance: Appliance) -> set[str]:
    found = {agent_image(appliance)}
    for module in appliance.modules().values():
        found.add(str((module.get("Config") or {}).get("Image", "")))
    document = deployment_of(appliance) or {}
    agent = table(table(table(document, "modulesContent"), "$edgeAgent"), "properties.desired")
    for module in table(agent, "modules").values():
        if isinstance(module, dict):
            found.add(str(table(module, "settings").get("image", "")))
    return found - {""}


def _preloaded(appliance: Appliance) -> Finding:
    try:
        entries = read_preload(appliance.images)
    except ImageError as problem:
        return error(str(problem), "install the package or image of this appliance again")
    if not entries:
        return ignored("this appliance carries no images")
    sizes = _sizes(appliance.images)
    found = []
    for entry in entries.values():
        in_engine = _in_engine(appliance, entry.id)
        damage = _damage(entry.archive, sizes.get(entry.reference), entry.sha256, not in_engine)
        if damage:
            found.append(
                error(
                    f"archive {entry.archive} of image {entry.reference} {damage}",
                    "install the package or image of this appliance again",
                )
            )
        elif not in_engine:
            found.append(
                error(
                    f"image {entry.reference} is carried by the appliance, and not in the engine",
                    "skerry check --fix, or: sudo systemctl restart skerry-edged",
                    fix=Fix(
                        "restarted edged, which loads the images of the appliance",
                        lambda: _restart(appliance),
                    ),
                )
            )
    return worst(found, ok(f"{len(entries)} images"))


def _in_engine(appliance: Appliance, image_id: str) -> bool:
    try:
        appliance.engine().describe_image(image_id)
    except EngineNotFoundError:
        return False
    except EngineError:
        return True  # container-engine-uri says so
    return True


def _sizes(folder: Path) -> dict[str, int]:
    entries = json.loads((folder / "preload.json").read_bytes())["images"]
    return {str(entry["ref"]): int(entry["size_bytes"]) for entry in entries}


def _damage(archive: Path, size_bytes: int | None, sha256: str, thorough: bool) -> str:
    """Return what is wrong with an archive; its content is read only where it is needed now."""
    try:
        there = archive.stat().st_size
    except OSError as problem:
        return f"cannot be read ({problem.strerror})"
    if size_bytes is not None and there != size_bytes:
        return f"has {there} bytes, expected {size_bytes}"
    if not thorough:
        return ""
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return "" if digest.hexdigest() == sha256 else "is damaged: its sha256 is another"


_NEEDS = ("aziot-edged-config-well-formed", "container-engine-uri")
CHECKS = (
    Check("check-agent-image", Section.EDGE, "the agent's image is there", _agent, needs=_NEEDS),
    Check(
        "image-architecture",
        Section.APPLIANCE,
        "images are for this machine",
        _architecture,
        needs=_NEEDS,
    ),
    Check(
        "preloaded-images",
        Section.APPLIANCE,
        "the images that the appliance carries are whole and loaded",
        _preloaded,
    ),
)
