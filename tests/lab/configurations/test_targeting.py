"""Which configurations reach which twins, and what is left when they no longer do."""

from dataclasses import replace

import pytest

from harness.lab_fleet import SYSTEM, Fleet, device_content, edge_content
from skerry.wire.identity import Identity
from skerry_lab.configurations.targeting import STEP_DEVICES
from skerry_lab.registry.errors import HubError
from skerry_lab.registry.model import Status


@pytest.fixture
def fleet() -> Fleet:
    """Devices `a` and `b` on sites of these names, edge device `e` on `a`."""
    found = Fleet()
    found.device("a", site="a")
    found.device("b", site="b")
    found.device("e", edge=True, site="a")
    return found


def test_a_configuration_reaches_the_devices_that_it_targets(fleet: Fleet) -> None:
    """At once, and those that come or are tagged later too."""
    fleet.put("c", device_content(cool__rate=5), "tags.site = 'a'")
    assert [fleet.desired(one) for one in "abe"] == [
        {"cool": {"rate": 5}},
        {},
        {"cool": {"rate": 5}},
    ]
    fleet.tag("b", site="a")
    assert fleet.desired("b") == {"cool": {"rate": 5}}
    fleet.device("n")
    assert fleet.desired("n") == {}
    assert fleet.status("b") == {"c": "Applied"}
    assert fleet.status("n") == {}
    assert fleet.counts("c") == (3, 3)


def test_who_is_targeted_no_longer_loses_the_settings(fleet: Fleet) -> None:
    """And only those; an object that has lost its last name is gone."""
    fleet.cloud.twins.patch(Identity("a"), desired={"cool": {"mode": "eco"}, "own": 1})
    fleet.put("c", device_content(cool__rate=5, lamp__on=True), "tags.site = 'a'")
    assert fleet.desired("a") == {
        "cool": {"mode": "eco", "rate": 5},
        "own": 1,
        "lamp": {"on": True},
    }
    fleet.tag("a", site="b")
    assert fleet.desired("a") == {"cool": {"mode": "eco"}, "own": 1}
    fleet.put("c", device_content(cool__rate=5, lamp__on=True), "tags.site = 'b'", is_update=True)
    assert fleet.desired("e") == {}
    assert fleet.desired("b") == {"cool": {"rate": 5}, "lamp": {"on": True}}
    fleet.remove("c")
    assert fleet.desired("b") == {}
    assert fleet.desired("a") == {"cool": {"mode": "eco"}, "own": 1}


def test_the_higher_priority_wins_one_place(fleet: Fleet) -> None:
    """The lower one is targeted only, and takes over when the higher goes."""
    fleet.put("low", device_content(rate=1), priority=1)
    fleet.put("high", device_content(rate__x=2), "tags.site = 'a'", priority=2)
    fleet.put("beside", device_content(lamp=3), priority=0)
    assert fleet.desired("a") == {"rate": {"x": 2}, "lamp": 3}
    assert fleet.desired("b") == {"rate": 1, "lamp": 3}
    assert fleet.status("a") == {"low": "Targeted", "high": "Applied", "beside": "Applied"}
    assert fleet.counts("low") == (3, 1)
    fleet.put("high", device_content(rate__x=2), "tags.site = 'a'", 0, is_update=True)
    assert fleet.desired("a") == {"rate": 1, "lamp": 3}
    fleet.remove("low")
    assert fleet.desired("a") == {"rate": {"x": 2}, "lamp": 3}
    assert fleet.desired("b") == {"lamp": 3}


def test_of_one_priority_the_later_wins(fleet: Fleet) -> None:
    """As in IoT Hub."""
    fleet.put("one", device_content(rate=1))
    fleet.put("two", device_content(rate=2))
    assert fleet.desired("a") == {"rate": 2}


def test_a_deployment_reaches_edge_devices_alone(fleet: Fleet) -> None:
    """Modules that it names are registered; one that comes to be an edge device gets it."""
    fleet.put("d", edge_content(base=True, m={"whole": {"x": 1}}), "tags.site = 'a'")
    assert fleet.desired("e", "$edgeAgent") == SYSTEM["$edgeAgent"]["properties.desired"]
    assert fleet.desired("e", "m") == {"x": 1}
    module = fleet.cloud.registry.module("e", "m")
    assert module.managed_by == "IotEdge"
    assert fleet.cloud.registry.store.modules("a") == []
    assert fleet.status("e", "$edgeAgent") == {"d": "Applied"}
    fleet.device("a", edge=True)
    assert fleet.desired("a", "m") == {"x": 1}
    assert fleet.counts("d") == (2, 2, 0, 0)


def test_layers_lie_on_the_base_by_priority(fleet: Fleet) -> None:
    """A layer below the base, or without one, is targeted only; the highest wins a place."""
    fleet.put("base", edge_content(base=True, m={"whole": {"x": 1, "y": 1}}), priority=5)
    fleet.put("under", edge_content(m={"x": 2}), priority=5)
    fleet.put("one", edge_content(m={"x": 3, "z": 3}, n={"whole": {"n": 1}}), priority=6)
    fleet.put("two", edge_content(m={"x": 4}), "tags.site = 'a'", priority=7)
    assert fleet.desired("e", "m") == {"x": 4, "y": 1, "z": 3}
    assert fleet.desired("e", "n") == {"n": 1}
    assert fleet.status("e", "$edgeAgent") == {
        "base": "Applied",
        "under": "Targeted",
        "one": "Applied",
        "two": "Applied",
    }
    layer = edge_content(m={"x": 3, "z": 3}, n={"whole": {"n": 1}})
    fleet.put("one", layer, priority=8, is_update=True)
    assert fleet.desired("e", "m") == {"x": 3, "y": 1, "z": 3}
    fleet.remove("one")
    assert fleet.desired("e", "m") == {"x": 4, "y": 1}
    assert fleet.desired("e", "n") == {}
    fleet.tag("e", site="b")
    assert fleet.desired("e", "m") == {"x": 1, "y": 1}


def test_layers_of_the_agent_add_modules(fleet: Fleet) -> None:
    """The way in which layered deployments are written."""
    fleet.put("base", {"modulesContent": SYSTEM})
    content = {
        "modulesContent": {"$edgeAgent": {"properties.desired.modules.m": {"type": "docker"}}}
    }
    fleet.put("layer", content, priority=1)
    assert fleet.desired("e", "$edgeAgent") == {"modules": {"m": {"type": "docker"}}}
    fleet.remove("layer")
    assert fleet.desired("e", "$edgeAgent") == {"modules": {}}


def test_a_device_without_a_deployment_keeps_what_it_runs(fleet: Fleet) -> None:
    """Another deployment takes over; when none is left nothing changes."""
    fleet.put("old", edge_content(base=True, m={"whole": {"x": 1}}), priority=1)
    fleet.put("new", edge_content(base=True, n={"whole": {"y": 2}}), priority=2)
    assert fleet.desired("e", "m") == {}
    assert fleet.desired("e", "n") == {"y": 2}
    fleet.remove("new")
    assert fleet.desired("e", "m") == {"x": 1}
    assert fleet.desired("e", "n") == {}
    fleet.remove("old")
    assert fleet.desired("e", "m") == {"x": 1}
    assert fleet.status("e", "$edgeAgent") == {}


def test_configurations_of_modules(fleet: Fleet) -> None:
    """On top of what a deployment sets, and of modules that the deployment brings."""
    content = {"moduleContent": {"properties.desired.rate": 5}}
    fleet.put("c", content, "FROM devices.modules WHERE moduleId = 'm'")
    fleet.put("d", edge_content(base=True, m={"whole": {"x": 1}}))
    assert fleet.desired("e", "m") == {"x": 1, "rate": 5}
    assert fleet.status("e", "m") == {"c": "Applied"}
    fleet.put("d", edge_content(base=True, m={"whole": {"x": 1}}), "false", is_update=True)
    assert fleet.desired("e", "m") == {"x": 1, "rate": 5}
    fleet.remove("c")
    assert fleet.desired("e", "m") == {"x": 1}


def test_what_the_agent_reports_is_counted(fleet: Fleet) -> None:
    """Of the version that it was told last only."""
    fleet.put("d", edge_content(base=True))
    agent = Identity("e", "$edgeAgent")
    version = fleet.cloud.twins.get(agent).desired.version
    for code, expected in ((200, (1, 1, 1, 0)), (406, (1, 1, 0, 1))):
        report = {"lastDesiredVersion": version, "lastDesiredStatus": {"code": code}}
        fleet.cloud.twins.patch_reported(agent, report)
        assert fleet.counts("d") == expected
    fleet.cloud.twins.patch(agent, desired={"more": 1})
    assert fleet.counts("d") == (1, 1, 0, 0)


def test_reported_properties_target(fleet: Fleet) -> None:
    """A report that makes a device fit has its answer in the twin at once."""
    fleet.put("c", device_content(rate=1), "properties.reported.model = 'x'")
    fleet.cloud.twins.patch_reported(Identity("a"), {"model": "x"})
    assert fleet.desired("a") == {"rate": 1}
    fleet.cloud.twins.patch_reported(Identity("a"), {"model": "y"})
    assert fleet.desired("a") == {}


def test_nothing_is_written_when_nothing_changes(fleet: Fleet) -> None:
    """What someone changed by hand stays until the configurations of the device change."""
    fleet.put("c", device_content(rate=1))
    fleet.cloud.twins.patch(Identity("a"), desired={"rate": 7})
    version = fleet.cloud.twins.get(Identity("a")).desired.version
    fleet.tag("a", other=1)
    fleet.put("c", device_content(rate=1), is_update=True, priority=3)
    assert fleet.cloud.twins.get(Identity("a")).desired.version == version
    assert fleet.desired("a") == {"rate": 7}


def test_what_is_removed_is_not_counted(fleet: Fleet) -> None:
    """A device that comes back under its name is targeted anew; a disabled one stays targeted."""
    fleet.put("c", device_content(rate=1))
    fleet.put("d", edge_content(base=True))
    fleet.cloud.registry.delete_device("a")
    fleet.cloud.registry.delete_device("e")
    assert fleet.counts("c") == (1, 1)
    assert fleet.counts("d") == (0, 0, 0, 0)
    fleet.device("e", edge=True)
    assert fleet.desired("e") == {"rate": 1}
    assert fleet.counts("d") == (1, 1, 0, 0)
    fleet.device("e", edge=False)
    assert fleet.counts("d") == (0, 0, 0, 0)


def test_a_status_targets(fleet: Fleet) -> None:
    """Disabling a device takes it out of a configuration that asks for enabled ones."""
    fleet.put("c", device_content(rate=1), "status = 'enabled'")
    registry = fleet.cloud.registry
    registry.put_device(replace(registry.device("a"), status=Status.DISABLED), "*")
    assert fleet.desired("a") == {}
    registry.put_device(replace(registry.device("a"), status=Status.ENABLED), "*")
    assert fleet.desired("a") == {"rate": 1}


def test_what_does_not_fit_leaves_the_device_as_it_was(fleet: Fleet) -> None:
    """The change that led to it holds; the configuration is targeted and tried again."""
    big = {f"k{number}": "x" * 4000 for number in range(5)}
    fleet.put("small", device_content(s=1))
    fleet.cloud.twins.patch(Identity("a"), desired={"own": big})
    fleet.put("c", device_content(big=big), priority=1)
    assert fleet.status("a") == {"small": "Applied", "c": "Targeted"}
    assert fleet.desired("a") == {"own": big, "s": 1}
    assert fleet.desired("b") == {"s": 1, "big": big}
    fleet.cloud.twins.patch(Identity("a"), desired={"own": None})
    fleet.device("a")
    assert fleet.desired("a") == {"s": 1, "big": big}


def test_a_sweep_goes_on_where_it_was(fleet: Fleet) -> None:
    """In steps; what changes meanwhile is right, whichever side of the sweep it is on."""
    for number in range(2 * STEP_DEVICES):
        fleet.device(f"d{number:03}")
    body = {"content": device_content(rate=1), "targetCondition": "*"}
    fleet.cloud.configurations.put("c", body, None)
    assert fleet.counts("c") == (STEP_DEVICES, STEP_DEVICES)
    fleet.device("0", site="z")
    fleet.device("z")
    assert fleet.desired("0") == fleet.desired("z") == {"rate": 1}
    fleet.cloud.configurations.remove("c")
    fleet.finish()
    assert fleet.desired("0") == fleet.desired("z") == fleet.desired("d099") == {}
    left = fleet.connection.execute("SELECT count(*) FROM configuration").fetchone()[0]
    assert left == 0


def test_a_name_can_be_used_again_while_the_former_is_taken_off(fleet: Fleet) -> None:
    """The former one's settings go, the new one's stay."""
    for number in range(2 * STEP_DEVICES):
        fleet.device(f"d{number:03}")
    fleet.put("c", device_content(old=1))
    fleet.cloud.configurations.remove("c")
    fleet.put("c", device_content(new=2))
    assert {str(fleet.desired(f"d{n:03}")) for n in range(2 * STEP_DEVICES)} == {"{'new': 2}"}


def test_a_condition_that_cannot_be_used(fleet: Fleet) -> None:
    """Says where; nothing is stored."""
    with pytest.raises(HubError, match=r"column 12: .* expected") as caught:
        fleet.put("c", device_content(rate=1), "tags.site =")
    assert (caught.value.status, caught.value.code) == (400, "InvalidConfigurationTargetCondition")
    with pytest.raises(HubError, match="column 5: a target condition cannot ask for 'connection"):
        fleet.put("c", device_content(rate=1), "NOT connectionState = 'Connected'")
    with pytest.raises(HubError, match=r"cannot ask for 'properties\.desired'"):
        fleet.put("c", device_content(rate=1), "properties.desired.x = 1")
    assert fleet.cloud.configurations.store.all() == []
