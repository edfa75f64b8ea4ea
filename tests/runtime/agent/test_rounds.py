"""The agent at work against a management API on a socket, in virtual time."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.agents import Site, module


def test_a_deployment_becomes_running_modules(site: Site) -> None:
    """Identity, container, start; then nothing more, and a report of success."""
    site.deploy(sensor=module())
    site.run(20)
    assert site.changes() == ["create sensor", "start sensor"]
    assert site.edged.modules["sensor"].status == "running"
    assert site.report["lastDesiredStatus"] == {"code": 200, "description": ""}
    assert site.report["modules"]["sensor"]["runtimeStatus"] == "running"


def test_a_module_gets_upstreams_environment(site: Site) -> None:
    """The variables that device SDKs read, with the module's own generation id."""
    site.deploy(sensor=module(env={"POLL": {"value": "5"}}))
    site.run(1)
    assert site.edged.modules["sensor"].env == {
        "POLL": "5",
        "IOTEDGE_APIVERSION": "2022-08-03",
        "IOTEDGE_AUTHSCHEME": "sasToken",
        "IOTEDGE_DEVICEID": "house-1",
        "IOTEDGE_GATEWAYHOSTNAME": "house",
        "IOTEDGE_IOTHUBHOSTNAME": "hub.example",
        "IOTEDGE_MODULEGENERATIONID": site.edged.identities["sensor"],
        "IOTEDGE_MODULEID": "sensor",
        "IOTEDGE_WORKLOADURI": "unix:///run/iotedge/workload.sock",
        "RuntimeLogLevel": "Information",
    }


def test_modules_start_in_order(site: Site) -> None:
    """`startupOrder` first, `dependsOn` within it, whatever the names are."""
    site.deploy(
        a=module(startupOrder=2, dependsOn=["c"]),
        b=module(startupOrder=1),
        c=module(startupOrder=2),
        d=module(startupOrder=0),
    )
    site.run(20)
    started = [call for call in site.changes() if call.startswith("start")]
    assert started == ["start d", "start b", "start c", "start a"]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(module("sensor:2"), id="image"),
        pytest.param(module(env={"A": {"value": "b"}}), id="environment"),
        pytest.param(
            module() | {"settings": {"image": "sensor:1", "createOptions": {"User": "1"}}},
            id="create options",
        ),
    ],
)
def test_a_changed_module_is_replaced_and_no_other(site: Site, changed: dict[str, Any]) -> None:
    """What the container is made of decides."""
    site.deploy(sensor=module(), other=module("other:1"))
    site.run(20)
    site.changes()
    site.deploy(sensor=changed, other=module("other:1"))
    site.run(20)
    assert site.changes() == ["replace sensor"]
    assert site.edged.modules["sensor"].status == "running"


@pytest.mark.parametrize(
    "fields",
    [
        {"restartPolicy": "never"},
        {"startupOrder": 7},
        {"imagePullPolicy": "never"},
        {"version": "9"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_a_container_is_not_made_of_leaves_it_alone(
    site: Site, fields: dict[str, Any]
) -> None:
    """Policies and order are the agent's business: a healthy container goes on."""
    site.deploy(sensor=module())
    site.run(10)
    site.changes()
    site.deploy(sensor=module(**fields))
    site.run(10)
    assert site.changes() == []


def test_what_is_no_longer_wanted_is_stopped_and_removed(site: Site) -> None:
    """The module gets time to end, then container and identity go."""
    site.deploy(sensor=module())
    site.run(10)
    site.changes()
    site.deploy()
    site.run(10)
    assert site.changes() == ["stop sensor", "remove sensor"]
    assert site.edged.identities == {}
    assert site.report["modules"] == {}


def test_a_module_that_fails_is_restarted_with_growing_pauses(site: Site) -> None:
    """10, 20, 40, 80, 160, 300, 300 … s after it ended; after 20 restarts it counts as failed."""
    site.deploy(sensor=module())
    site.run(1)
    site.changes()
    for pause in (10, 20, 40, 80, 160, *[300] * 15):
        site.edged.ends("sensor", 3)
        site.edged.clock.advance(pause - 1)
        site.agent.round()
        assert site.changes() == []
        site.edged.clock.advance(1)
        site.agent.round()
        assert site.changes() == ["start sensor"]
    site.edged.ends("sensor", 3)
    site.edged.clock.advance(4000)
    site.agent.round()
    assert site.changes() == []
    sensor = site.report["modules"]["sensor"]
    assert (sensor["runtimeStatus"], sensor["restartCount"]) == ("failed", 20)
    told = "ended with status 3; not started again after 20 restarts"
    assert sensor["statusDescription"] == told
    assert site.report["lastDesiredStatus"] == {"code": 500, "description": f"sensor: {told}"}


def test_ten_minutes_of_health_clear_the_count(site: Site) -> None:
    """After that the next failure is the first again."""
    site.deploy(sensor=module())
    site.run(1)
    site.edged.ends("sensor", 1)
    site.run(15)
    assert site.report["modules"]["sensor"]["restartCount"] == 1
    site.run(610)
    assert site.report["modules"]["sensor"]["restartCount"] == 0


def test_a_stopped_module_starts_when_it_is_wanted_again(site: Site) -> None:
    """Even with policy never: the agent itself stopped it."""
    site.deploy(sensor=module(restartPolicy="never"))
    site.run(10)
    site.deploy(sensor=module(restartPolicy="never", status="stopped"))
    site.run(10)
    assert site.edged.modules["sensor"].status == "stopped"
    site.changes()
    site.deploy(sensor=module(restartPolicy="never"))
    site.run(10)
    assert site.changes() == ["start sensor"]
    assert site.report["modules"]["sensor"]["restartCount"] == 0


def test_a_reboot_is_nobodys_failure(site: Site) -> None:
    """After it, modules start at once and uncounted; one with policy never stays as it ended."""
    site.deploy(sensor=module(restartPolicy="on-failure"), once=module(restartPolicy="never"))
    site.run(10)
    site.edged.reboots()
    site.changes()
    site.start_agent(boot="boot-2")
    site.agent.round()
    assert site.changes() == ["start sensor"]
    site.run(10)
    assert site.report["modules"]["sensor"]["restartCount"] == 0
    assert site.report["modules"]["once"]["runtimeStatus"] == "failed"


def test_what_ended_while_the_agent_was_away_is_nobodys_failure(site: Site) -> None:
    """As with `skerry system stop`: at once and uncounted, however it ended."""
    on_failure = module(restartPolicy="on-failure")
    site.deploy(sensor=on_failure, done=on_failure, once=module(restartPolicy="never"))
    site.run(10)
    site.edged.ends("done", 0)
    agent = site.edged.add_agent()
    site.edged.clock.advance(100)
    agent.exited = site.edged.clock.now()
    site.edged.clock.advance(1)
    for name in ("sensor", "once"):
        site.edged.ends(name, 0)
    site.edged.clock.advance(100)
    agent.started = site.edged.clock.now()
    site.changes()
    site.start_agent()
    site.run(20)
    assert site.changes() == ["start sensor"]
    assert site.report["modules"]["sensor"]["restartCount"] == 0


def test_an_agent_without_memory_changes_nothing(site: Site, tmp_path: Path) -> None:
    """The label on the container says what it was made from."""
    site.deploy(sensor=module(env={"A": {"value": "b"}}))
    site.run(10)
    (tmp_path / "memory.json").unlink()
    site.changes()
    site.start_agent()
    site.run(10)
    assert site.changes() == []


def test_a_new_device_name_makes_modules_anew(site: Site) -> None:
    """Their environment holds the name under which they reach the hub."""
    site.deploy(sensor=module())
    site.run(10)
    site.changes()
    site.start_agent(EdgeDeviceHostName="barn")
    site.run(10)
    assert site.changes() == ["replace sensor"]
    assert site.edged.modules["sensor"].env["IOTEDGE_GATEWAYHOSTNAME"] == "barn"


def test_broken_memory_is_set_aside(site: Site, tmp_path: Path) -> None:
    """A file that cannot be read stops nobody; it is kept for people to look at."""
    site.deploy(sensor=module())
    site.run(10)
    (tmp_path / "memory.json").write_text("{")
    site.changes()
    site.start_agent()
    site.run(10)
    assert site.changes() == []
    assert (tmp_path / "memory.json.broken").read_text() == "{"
    assert any(line.startswith("memory set aside") for line in site.lines())


def test_a_deployment_with_a_bad_module_is_refused_whole(site: Site) -> None:
    """Nothing is changed by half: what ran goes on, and the report says which module it is."""
    site.deploy(sensor=module(), other=module())
    site.run(10)
    site.changes()
    site.deploy(sensor=module(restartPolicy="maybe"), other=module("other:2"))
    site.run(10)
    assert site.changes() == []
    status = site.report["lastDesiredStatus"]
    assert status["code"] == 500
    assert status["description"].startswith("not in force: sensor: restartPolicy is 'maybe'")
    assert site.report["modules"]["sensor"]["runtimeStatus"] == "running"


def test_in_the_first_deployment_a_bad_module_stops_no_other(site: Site) -> None:
    """There is nothing to keep instead, so a new device runs what it can."""
    site.deploy(sensor=module(restartPolicy="maybe"), other=module())
    site.run(10)
    assert site.changes() == ["create other", "start other"]
    status = site.report["lastDesiredStatus"]
    assert status["code"] == 500
    assert status["description"].startswith("sensor: restartPolicy is 'maybe', expected one of")
    assert site.report["modules"]["sensor"]["runtimeStatus"] == "failed"


def test_a_missing_image_holds_up_nobody(site: Site) -> None:
    """Its module is tried again with growing pauses, says why, and runs once the image is there."""
    site.edged.missing_images.add("gone:1")
    site.deploy(a=module("gone:1", startupOrder=1), b=module(startupOrder=2))
    site.run(65)
    assert site.edged.modules["b"].status == "running"
    assert site.changes().count("create a") == 3
    assert site.report["lastDesiredStatus"]["code"] == 500
    assert "a: image 'gone:1' is not there" in site.report["lastDesiredStatus"]["description"]
    site.edged.missing_images.clear()
    site.run(120)
    assert site.edged.modules["a"].status == "running"
    assert site.report["lastDesiredStatus"]["code"] == 200


def test_a_failed_update_leaves_the_old_module_running(site: Site) -> None:
    """The container goes only when there is something to replace it with."""
    site.deploy(sensor=module())
    site.run(10)
    site.edged.missing_images.add("sensor:2")
    site.deploy(sensor=module("sensor:2"))
    site.run(30)
    assert site.edged.modules["sensor"].status == "running"
    assert site.report["modules"]["sensor"]["runtimeStatus"] == "running"
    assert site.report["lastDesiredStatus"]["code"] == 500


@pytest.mark.parametrize(
    ("document", "code"),
    [
        pytest.param({"modulesContent": 5}, 400, id="no manifest"),
        pytest.param(
            {"modulesContent": {"$edgeAgent": {"properties.desired": {"schemaVersion": "2.0"}}}},
            412,
            id="another version",
        ),
    ],
)
def test_a_bad_deployment_leaves_the_last_good_one_in_force(
    site: Site, document: object, code: int
) -> None:
    """Modules are looked after as before; the report says what is wrong."""
    site.deploy(sensor=module())
    site.run(10)
    site.edged.deployment = document
    site.edged.ends("sensor", 1)
    site.run(30)
    assert site.edged.modules["sensor"].status == "running"
    assert site.report["lastDesiredStatus"]["code"] == code


def test_without_a_deployment_modules_are_left_alone(site: Site) -> None:
    """Nothing is removed for want of a deployment; it is said once."""
    site.deploy(sensor=module())
    site.run(10)
    site.changes()
    site.edged.deployment = None
    site.run(60)
    assert site.changes() == []
    assert site.report["lastDesiredStatus"]["code"] == 417
    said = [line for line in site.lines() if "no deployment" in line]
    assert said == ["there is no deployment; modules are left as they are"]


def test_an_unreachable_edged_is_waited_for_and_said_once(site_without_edged: Site) -> None:
    """Nothing is forgotten or counted meanwhile."""
    site = site_without_edged
    with site.edged.serving(site.socket):
        site.deploy(sensor=module())
        site.run(10)
    for _ in range(10):
        assert site.agent.round() == 5.0
    with site.edged.serving(site.socket):
        site.agent.round()
    lines = [line for line in site.lines() if "edged" in line]
    assert [line.partition(" reason=")[0] for line in lines] == [
        "edged cannot be reached; trying again",
        "edged answers again",
    ]


def test_an_engine_that_is_away_is_no_failure_of_a_module(site: Site) -> None:
    """503 ends the round; when the engine is back the module is made at once."""
    site.deploy(sensor=module())
    site.edged.refusals["create sensor"] = (503, "the engine does not answer")
    site.run(60)
    site.edged.refusals.clear()
    site.agent.round()
    assert site.edged.modules["sensor"].status == "running"
    assert (
        json.loads((site.folder / "memory.json").read_text())["modules"]["sensor"]["failures"] == 0
    )


def test_a_report_is_sent_when_something_changed(site: Site) -> None:
    """A device at rest writes nothing."""
    site.deploy(sensor=module())
    site.run(10)
    count = len(site.edged.reports)
    site.run(120)
    assert len(site.edged.reports) == count


def test_a_report_has_upstreams_shape_and_no_password(site: Site) -> None:
    """Credentials reach the management API with the module and nothing else."""
    deployment: Any = {
        "schemaVersion": "1.1",
        "runtime": {
            "settings": {
                "registryCredentials": {
                    "site": {"address": "R.example:5000", "username": "u", "password": "swordfish"}
                }
            }
        },
        "systemModules": {"edgeAgent": module("agent:1"), "edgeHub": module("hub:1")},
        "modules": {"sensor": module("r.example:5000/sensor")},
    }
    site.edged.deployment = {"modulesContent": {"$edgeAgent": {"properties.desired": deployment}}}
    site.run(10)
    settings = site.edged.modules["sensor"].spec["config"]["settings"]
    assert settings["image"] == "r.example:5000/sensor:latest"
    auth = {"serveraddress": "R.example:5000", "username": "u", "password": "swordfish"}
    assert settings["auth"] == auth
    assert "auth" not in site.edged.modules["edgeHub"].spec["config"]["settings"]
    assert "swordfish" not in json.dumps(site.edged.reports)
    assert "swordfish" not in site.said.getvalue()
    assert set(site.report) == {
        "schemaVersion",
        "version",
        "lastDesiredVersion",
        "lastDesiredStatus",
        "runtime",
        "systemModules",
        "modules",
    }
    assert set(site.report["systemModules"]) == {"edgeAgent", "edgeHub"}
    assert set(site.report["modules"]["sensor"]) == {
        *("type", "status", "restartPolicy", "imagePullPolicy", "startupOrder", "version"),
        *("runtimeStatus", "statusDescription", "exitCode", "lastStartTimeUtc"),
        *("lastExitTimeUtc", "restartCount", "lastRestartTimeUtc", "settings", "env"),
    }


def test_the_hub_answers_to_the_devices_name(site: Site) -> None:
    """On the modules' network the hub is also known by the name in IOTEDGE_GATEWAYHOSTNAME."""
    site.edged.deployment = {
        "modulesContent": {
            "$edgeAgent": {
                "properties.desired": {
                    "schemaVersion": "1.1",
                    "systemModules": {"edgeHub": module("hub:1")},
                }
            }
        }
    }
    site.run(10)
    hub = site.edged.modules["edgeHub"]
    endpoints = hub.options["NetworkingConfig"]["EndpointsConfig"]
    assert endpoints == {"azure-iot-edge": {"Aliases": ["house"]}}
    assert (hub.env["IOTEDGE_MODULEID"], hub.env["EdgeDeviceHostName"]) == ("$edgeHub", "house")
