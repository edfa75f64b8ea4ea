"""Checks of modules, their images, storage and ports, and of what a container reaches."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from harness.appliances import Machine, unit
from skerry.check.checks.containers import DEFAULT_IMAGE
from skerry.check.discover import all_checks
from skerry.check.model import Finding, Result
from skerry.workloads.model import AGENT

HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
CLIENT = """
[provisioning]
source = "manual"
iothub_hostname = "hub.example"
device_id = "d"
[provisioning.authentication]
method = "sas"
device_id_pk = "k"
"""


def container(status: str = "running", **state: Any) -> dict[str, Any]:
    """Return a container in the engine's JSON."""
    started = "2026-11-23T10:00:00Z"
    return {
        "State": {"Status": status, "ExitCode": 0, "StartedAt": started, **state},
        "Config": {"Env": [], "Image": "module:1"},
        "HostConfig": {},
        "Mounts": [],
    }


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One with an agent and a module, as they should be."""
    made = Machine(tmp_path)
    made.settings("edged", '[agent]\nname = "edgeAgent"\n[agent.config]\nimage = "agent:1"\n')
    made.settings("identityd", 'hostname = "house"\nhomedir = "/x"\n' + CLIENT)
    agent = container()
    agent["Config"] = {"Env": ["StorageFolder=/var/lib/agent"], "Image": "agent:1"}
    agent["Mounts"] = [{"Destination": "/var/lib/agent"}]
    put(made, AGENT, agent)
    put(made, "m", container())
    made.engine.images = {"agent:1": {"Id": "sha256:1", "Architecture": HERE}}
    return made


def put(machine: Machine, name: str, found: dict[str, Any]) -> None:
    machine.engine.found[name] = {"Name": f"/{name}", **found}


def deploy(machine: Machine, **modules: object) -> None:
    """Write the deployment of a configuration."""
    desired = {
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {}},
        "systemModules": {},
        "modules": {
            name: {
                "type": "docker",
                "status": "running",
                "restartPolicy": "always",
                "settings": {"image": "module:1", "createOptions": json.dumps(options)},
            }
            for name, options in modules.items()
        },
    }
    document = {"modulesContent": {"$edgeAgent": {"properties.desired": desired}}}
    machine.write("etc/skerry/current/deployment.json", json.dumps(document))


def publishing(port: int) -> dict[str, object]:
    return {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": str(port)}]}}}


def told(machine: Machine, **answer: object) -> None:
    """Have the diagnostics container say something."""
    machine.engine.images[DEFAULT_IMAGE] = {}
    now = machine.clock.now().timestamp()
    machine.engine.answer = (0, json.dumps({"time": now, **answer}))


def listens(machine: Machine, port: int) -> None:
    line = f"0: 0100007F:{port:04X} 00000000:0000 0A\n"
    machine.write("proc/net/tcp", f"head\n{line}")
    deploy(machine, m=publishing(port))


def two_with_a_port(machine: Machine) -> None:
    put(machine, "other", {**container(), **publishing(8080)})
    deploy(machine, m=publishing(8080))


def failed_keyd(machine: Machine) -> None:
    name = "skerry-keyd.service"
    machine.units.known[name] = unit(name, "failed")


def other_architecture(machine: Machine) -> None:
    machine.engine.images["module:1"] = {"Architecture": "s390x"}


Plant = Callable[[Machine], object]

FAULTS: list[tuple[str, Plant, Result, str]] = [
    ("module-health", lambda m: m.engine.found.pop(AGENT), Result.ERROR, "no container"),
    (
        "module-health",
        lambda m: put(m, "m", container("exited", ExitCode=3)),
        Result.ERROR,
        "m failed with status 3",
    ),
    (
        "module-health",
        lambda m: put(m, "m", container("exited", ExitCode=137, OOMKilled=True)),
        Result.ERROR,
        "used more memory",
    ),
    (
        "module-health",
        lambda m: put(m, "m", container(Health={"Status": "unhealthy"})),
        Result.ERROR,
        "its own health check fails",
    ),
    (
        "module-health",
        lambda m: put(m, "m", container("created", Error="no such device")),
        Result.ERROR,
        "cannot be started: no such device",
    ),
    (
        "edge-agent-storage-mounted-from-host",
        lambda m: m.engine.found[AGENT].update(Mounts=[]),
        Result.WARNING,
        "is lost with its container",
    ),
    (
        "edge-agent-storage-mounted-from-host",
        lambda m: m.engine.found.pop(AGENT),
        Result.WARNING,
        "there is no container",
    ),
    ("port-conflicts", lambda m: listens(m, 8080), Result.ERROR, "a program of the host listens"),
    ("port-conflicts", two_with_a_port, Result.ERROR, "container other publishes it"),
    (
        "manifest-valid",
        lambda m: m.write("etc/skerry/current/deployment.json", "{"),
        Result.ERROR,
        "cannot be used",
    ),
    (
        "manifest-valid",
        lambda m: deploy(m, a=publishing(1), b=publishing(1)),
        Result.ERROR,
        "is refused",
    ),
    (
        "check-agent-image",
        lambda m: m.engine.images.clear(),
        Result.ERROR,
        "is not on this device yet",
    ),
    ("image-architecture", other_architecture, Result.ERROR, "is for s390x"),
    (
        "container-local-time",
        lambda m: told(m, time=m.clock.now().timestamp() + 60),
        Result.ERROR,
        "60 s off the host's",
    ),
    ("container-local-time", lambda m: None, Result.SKIPPED, "is not on this device"),
    (
        "connect-management-uri",
        lambda m: told(m, management="refused"),
        Result.ERROR,
        "cannot use the management API: refused",
    ),
    (
        "container-connect-upstream-mqtt",
        lambda m: told(m, connected={"hub.example:8883": "timed out"}),
        Result.ERROR,
        "cannot reach hub.example:8883: timed out",
    ),
    (
        "container-default-connect-upstream-https",
        lambda m: told(m, connected={"hub.example:443": "refused"}),
        Result.ERROR,
        "cannot reach hub.example:443: refused",
    ),
    ("keyd-running", lambda m: None, Result.ERROR, "keyd has no socket"),
    (
        "service-units",
        failed_keyd,
        Result.ERROR,
        "keyd failed with status 0",
    ),
    ("service-units", lambda m: None, Result.SKIPPED, "no systemd"),
]


@pytest.mark.parametrize(
    ("check_id", "plant", "result", "said"), FAULTS, ids=[f"{one[0]}: {one[3]}" for one in FAULTS]
)
def test_what_is_wrong_is_named(
    machine: Machine, check_id: str, plant: Plant, result: Result, said: str
) -> None:
    """With its cause; whatever is bad has a remedy."""
    plant(machine)
    found = machine.find(check_id)
    causes = " ".join((found.cause, *found.evidence))
    assert (found.result, said in causes) == (result, True), found
    assert bool(found.remedy) == found.result.bad


@pytest.mark.parametrize(
    ("check_id", "prepare"),
    [
        ("module-health", lambda m: None),
        ("edge-agent-storage-mounted-from-host", lambda m: None),
        ("port-conflicts", lambda m: deploy(m, m=publishing(8080))),
        ("manifest-valid", lambda m: deploy(m, m={})),
        ("check-agent-image", lambda m: None),
        ("image-architecture", lambda m: None),
        ("container-local-time", lambda m: told(m)),
        ("connect-management-uri", lambda m: told(m)),
        ("container-connect-upstream-mqtt", lambda m: told(m)),
    ],
)
def test_what_is_well_is_well(machine: Machine, check_id: str, prepare: Plant) -> None:
    """No cause, no remedy, nothing to fix."""
    prepare(machine)
    found = machine.find(check_id)
    assert (found.result, found.cause, found.remedy, found.fix) == (Result.OK, "", "", None), found


@pytest.mark.parametrize(
    "check_id", ["edge-hub-storage-mounted-from-host", "container-resolve-parent-hostname"]
)
def test_what_this_device_does_not_have_is_not_judged(machine: Machine, check_id: str) -> None:
    """Neither well nor bad."""
    assert machine.find(check_id).result is Result.IGNORED


def test_the_diagnostics_container_has_no_rights(machine: Machine) -> None:
    """Nothing to write to, no capability, little memory; one run tells all checks of a network."""
    told(machine)
    appliance = machine.appliance()
    for check in all_checks():
        if check.id in {"container-local-time", "connect-management-uri"}:
            check.run(appliance)
    (body,) = machine.engine.ran
    host = body["HostConfig"]
    assert isinstance(host, dict)
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["PidsLimit"]) == (True, ["ALL"], 32)
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert [mount["ReadOnly"] for mount in host["Mounts"]] == [True]
    assert host["NetworkMode"] == "azure-iot-edge"
    assert body["User"] == "13622:13622"


def test_a_masked_service_is_unmasked(machine: Machine) -> None:
    """Masks of this boot and for ever; then it is started."""
    name = "skerry-keyd.service"
    machine.units.known[name] = replace(unit(name, "inactive"), load="masked")
    found = machine.find("service-units")
    assert (found.result, "keyd is masked" in found.cause) == (Result.ERROR, True)
    assert found.fix is not None
    found.fix.run()
    assert machine.units.told[:2] == [
        f"systemctl unmask {name} skerry-keyd.socket",
        f"systemctl unmask --runtime {name} skerry-keyd.socket",
    ]
    assert machine.units.told[-1] == "systemctl restart skerry-keyd.socket"


def carried(machine: Machine, **changes: object) -> Path:
    """Have the appliance carry one image, which the engine has; returns its archive."""
    data = b"an archive"
    entry = {
        "ref": "localhost/skerry/agent:1",
        "id": "sha256:1",
        "file": "agent.tar",
        "sha256": sha256(data).hexdigest(),
        "size_bytes": len(data),
    }
    machine.write("usr/images/preload.json", json.dumps({"images": [{**entry, **changes}]}))
    machine.write("usr/images/agent.tar", data.decode())
    machine.engine.images["sha256:1"] = {}
    return machine.root / "usr/images/agent.tar"


def preloaded(machine: Machine) -> Finding:
    appliance = replace(machine.appliance(), images=machine.root / "usr/images")
    (check,) = (one for one in all_checks() if one.id == "preloaded-images")
    return check.run(appliance)


def test_images_that_are_carried_and_loaded_are_well(machine: Machine) -> None:
    """An appliance without images is not judged."""
    assert preloaded(machine).result is Result.IGNORED
    carried(machine)
    assert preloaded(machine).result is Result.OK


def test_an_archive_that_is_not_whole_is_named(machine: Machine) -> None:
    """Lost, of another size, and, where the engine needs it now, of another content."""
    archive = carried(machine)
    archive.write_text("short")
    assert "has 5 bytes, expected 10" in preloaded(machine).cause
    archive.unlink()
    assert "cannot be read" in preloaded(machine).cause
    archive.write_text("an archivE")
    assert preloaded(machine).result is Result.OK
    machine.engine.images.clear()
    assert "is damaged" in preloaded(machine).cause


def test_a_carried_image_is_loaded_again(machine: Machine) -> None:
    """By edged, when it starts."""
    carried(machine)
    machine.engine.images.clear()
    found = preloaded(machine)
    assert (found.result, "not in the engine" in found.cause) == (Result.ERROR, True)
    assert found.fix is not None
    found.fix.run()
    assert machine.units.told == ["systemctl restart skerry-edged.service"]


def test_a_service_is_started_again(machine: Machine) -> None:
    """Its listening end is made anew, too."""
    fix = machine.find("edged-running").fix
    assert fix is not None
    fix.run()
    assert machine.units.told[-1] == "systemctl start skerry-edged.service"
    assert "systemctl stop skerry-edged.service" in machine.units.told
