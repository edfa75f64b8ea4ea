"""Whatever happens in whatever order: twins hold what the configurations say, marks say so too."""

import contextlib
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.lab_fleet import Fleet, device_content, edge_content
from skerry.wire.identity import Identity
from skerry_lab.configurations.content import settled
from skerry_lab.configurations.model import system_queries, target_of
from skerry_lab.query.query import parse_query
from skerry_lab.registry.errors import HubError

IDS = ("a", "b", "e", "f")
NAMES = ("c1", "c2", "c3", "c4")
CONTENTS: Mapping[str, dict[str, object]] = {
    "rate": device_content(rate=1),
    "rate.x": device_content(rate__x=2),
    "lamp": device_content(lamp__on=3, lamp__off=4),
    "both": device_content(rate=5, lamp__on=6),
    "base": edge_content(base=True, m={"whole": {"x": 1, "y": 1}}),
    "other base": edge_content(base=True, m={"whole": {"z": 1}}),
    "layer": edge_content(m={"x": 7}),
    "whole layer": edge_content(m={"whole": {"w": 8}}),
}
TARGETS = ("*", "", "tags.site = 'p'", "tags.site != 'q'", "NOT is_defined(tags.site)")

OPERATIONS = st.one_of(
    st.tuples(st.just("device"), st.sampled_from(IDS), st.booleans()),
    st.tuples(st.just("delete"), st.sampled_from(IDS)),
    st.tuples(st.just("tag"), st.sampled_from(IDS), st.sampled_from(("p", "q", None))),
    st.tuples(
        st.just("put"),
        st.sampled_from(NAMES),
        st.sampled_from(sorted(CONTENTS)),
        st.sampled_from(TARGETS),
        st.integers(0, 3),
    ),
    st.tuples(
        st.just("update"), st.sampled_from(NAMES), st.sampled_from(TARGETS), st.integers(0, 3)
    ),
    st.tuples(st.just("remove"), st.sampled_from(NAMES)),
    st.tuples(st.just("step")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(OPERATIONS, max_size=25))
def test_twins_hold_what_configurations_say(operations: list[tuple[Any, ...]]) -> None:
    """Also when sweeps are cut by changes; the counts are those that the queries find."""
    fleet = Fleet()
    fleet.cloud.targeting.step_devices = 1
    for operation in operations:
        with contextlib.suppress(HubError):  # a name that is taken, or unknown
            _run(fleet, *operation)
    fleet.finish()
    known = fleet.cloud.configurations.store.all()
    for device_id in IDS:
        if fleet.cloud.registry.store.device(device_id) is not None:
            _check(fleet, device_id, known)
    for one in known:
        assert fleet.cloud.configurations.counts(one) == _queried(fleet, one)
    assert fleet.connection.execute("SELECT count(*) FROM configuration").fetchone()[0] == len(
        known
    )


def _run(fleet: Fleet, what: str, *parts: Any) -> None:
    configurations = fleet.cloud.configurations
    match what, parts:
        case "device", (device_id, edge):
            fleet.device(device_id, edge=edge)
        case "delete", (device_id,):
            fleet.cloud.registry.delete_device(device_id)
        case "tag", (device_id, site):
            fleet.tag(device_id, site=site)
        case "put", (name, content, target, priority):
            body = {"content": CONTENTS[content], "targetCondition": target, "priority": priority}
            configurations.put(name, body, None)
        case "update", (name, target, priority):
            configurations.put(name, {"targetCondition": target, "priority": priority}, "*")
        case "remove", (name,):
            configurations.remove(name)
        case _:
            fleet.cloud.targeting.step()


def _check(fleet: Fleet, device_id: str, known: list[Any]) -> None:
    view = fleet.cloud.views.of(Identity(device_id))
    targeting = [
        one
        for one in sorted(known, key=lambda one: one.rank)
        if (target := target_of(one)) is not None and target.takes(view)
    ]
    own = [one for one in targeting if "deviceContent" in one.content]
    wanted: dict[str, object] = {}
    taken: list[Any] = []
    for one in reversed(own):
        parts = one.sections()[""]
        places = {path for path, _ in parts}
        if not any(_clash(places, {path for path, _ in other}) for other in taken):
            taken.append(parts)
    for parts in reversed(taken):
        wanted = settled(wanted, (), parts)
    assert fleet.desired(device_id) == wanted
    applied = [name for name, status in fleet.status(device_id).items() if status == "Applied"]
    assert len(applied) == len(taken)
    assert fleet.status(device_id).keys() == {one.configuration_id for one in own}
    if fleet.cloud.registry.device(device_id).edge:
        _check_edge(fleet, device_id, [one for one in targeting if "modulesContent" in one.content])


def _check_edge(fleet: Fleet, device_id: str, deployments: list[Any]) -> None:
    bases = [one for one in deployments if "$edgeAgent" in one.sections()]
    status = fleet.status(device_id, "$edgeAgent")
    assert status.keys() == {one.configuration_id for one in deployments}
    if not bases:
        assert "Applied" not in status.values()
        return
    above = [one for one in deployments if one.priority > bases[-1].priority]
    force = [bases[-1], *(one for one in above if one not in bases)]
    wanted: dict[str, object] = {}
    for one in force:
        wanted = settled(wanted, (), one.sections()["m"])
    assert fleet.desired(device_id, "m") == wanted
    names = {one.configuration_id for one in force}
    assert {name for name, found in status.items() if found == "Applied"} == names


def _clash(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> bool:
    return any(a[: len(b)] == b or b[: len(a)] == a for a in one for b in other)


def _queried(fleet: Fleet, one: Any) -> dict[str, int]:
    counted = {}
    for name, text in system_queries(one).items():
        query = parse_query(text)
        views = fleet.cloud.views
        found = (
            views.devices_after("", 99)
            if query.source == "devices"
            else views.modules_after(Identity("", ""), 99)
        )
        counted[name] = sum(query.takes(view) for _, view in found)
    return counted
