"""Parents and children, what an edge hub is told of them, and for whom it may speak.

Sources: azure-iot-edge.md §6.6, §6.7.
"""

from dataclasses import replace
from itertools import pairwise
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.lab import HUB, Got, Hosted
from skerry.heads.routes import Request
from skerry.wire.identity import Identity
from skerry_lab.cloud import Cloud
from skerry_lab.registry.access import Connected
from skerry_lab.registry.errors import HubError
from skerry_lab.registry.hierarchy import MAX_CHILDREN, MAX_LAYERS, Chain, parse_chain
from skerry_lab.registry.model import Device, Module, Status

GET, POST = "2018-08-30-preview", "2020-06-30-preview"


class Plant:
    """Edge device `top`, below it `mid` and leaf `l1`, below `mid` leaf `l2` with module `m`."""

    def __init__(self, hosted: Hosted) -> None:
        self.hosted = hosted
        registry = hosted.registry
        self.top = registry.create_device("top")
        registry.create_device("mid")
        for leaf in ("l1", "l2", "stranger"):
            registry.create_device(leaf, edge=False)
        registry.set_parent("mid", "top")
        registry.set_parent("l1", "top")
        registry.set_parent("l2", "mid")
        self.put_module("l2", "m")
        self.put_module("top", "m")

    def put_module(self, device_id: str, module_id: str) -> None:
        self.hosted.store.do(
            lambda cloud: cloud.registry.put_module(
                Module(device_id, module_id, cloud.registry.fresh_keys())
            )
        )

    def token(self, device_id: str = "top", module_id: str = "$edgeHub") -> str:
        modules = self.hosted.registry.modules(device_id)
        module = next(one for one in modules if one.module_id == module_id)
        audience = f"{HUB}/devices/{device_id}/modules/{module_id}"
        return self.hosted.token(audience, module.authentication.keys[0])

    def get(self, what: str, token: str | None = None, **query: str) -> Got:
        path = f"/devices/top/modules/$edgeHub/{what}"
        request = Request(
            "GET", path, {"api-version": GET, **query},
            {"authorization": token or self.token()},
        )  # fmt: skip
        return self._ask(request)

    def follow(self, link: object) -> Got:
        parts = urlsplit(str(link))
        headers = {"authorization": self.token()}
        return self._ask(Request("GET", parts.path, dict(parse_qsl(parts.query)), headers))

    def _ask(self, request: Request) -> Got:
        return self.hosted.call(
            f"{request.method} {request.path}", token=request.headers["authorization"],
            version=request.query["api-version"], query=request.query,
        )  # fmt: skip

    def ask(
        self,
        what: str,
        chain: object,
        *,
        method: str = "POST",
        if_match: str | None = None,
        **body: object,
    ) -> Got:
        line = f"{method} /devices/top/modules/$edgeHub/{what}"
        whole = {"authChain": chain, **body}
        return self.hosted.call(line, whole, token=self.token(), version=POST, if_match=if_match)

    def connect(self, who: str, chain: str) -> Connected:
        identity, token = Identity.parse(who), self.token()
        return self.hosted.store.do(
            lambda cloud: cloud.access.connect(identity, HUB, token, (), chain)
        )

    def device(self, device_id: str) -> Device:
        return self.hosted.registry.device(device_id)


@pytest.fixture
def plant(hosted: Hosted) -> Plant:
    return Plant(hosted)


def ids(got: Got) -> tuple[list[str], list[str]]:
    """Return devices and modules of an answer."""
    assert got.status == 200, got
    devices, modules = got["devices"], got["modules"]
    assert isinstance(devices, list)
    assert isinstance(modules, list)
    return [d["deviceId"] for d in devices], [f"{m['deviceId']}/{m['moduleId']}" for m in modules]


# --- parents


def test_scopes_say_who_lies_below_whom(plant: Plant) -> None:
    """A leaf has its parent's scope, an edge device its own and its parent's."""
    top, mid, leaf = map(plant.device, ("top", "mid", "l2"))
    assert top.scope == f"ms-azure-iot-edge://top-{top.generation_id}"
    assert (top.parent_scopes, mid.parent_scopes) == ((), (top.scope,))
    assert mid.scope == f"ms-azure-iot-edge://mid-{mid.generation_id}"
    assert (leaf.scope, leaf.parent_scopes) == (mid.scope, (mid.scope,))


@pytest.mark.parametrize("name", ["deviceScope", "parentScopes"])
def test_either_name_gives_a_leaf_its_parent(plant: Plant, name: str) -> None:
    """The other is copied, as IoT Hub does it; a PUT with neither takes the parent away."""
    registry = plant.hosted.registry
    leaf, scope = plant.device("stranger"), plant.top.scope
    assert scope is not None
    wanted = (
        replace(leaf, scope=scope)
        if name == "deviceScope"
        else replace(leaf, parent_scopes=(scope,))
    )
    found = registry.update_device(wanted)
    assert (found.scope, found.parent_scopes) == (scope, (scope,))
    free = registry.update_device(replace(found, scope=None, parent_scopes=()))
    assert (free.scope, free.parent_scopes) == (None, ())


@pytest.mark.parametrize(
    ("child", "parent", "problem"),
    [
        ("top", "mid", "device 'mid' lies below 'top'"),
        ("top", "top", "is not that of another edge device"),
        ("l1", "l2", "device 'l2' is no edge device"),
    ],
)
def test_a_parent_that_cannot_be_is_refused(
    plant: Plant, child: str, parent: str, problem: str
) -> None:
    """Nobody is above itself, and only edge devices have children."""
    before = plant.device(child)
    with pytest.raises(HubError, match=problem) as caught:
        plant.hosted.registry.set_parent(child, parent)
    assert caught.value.status == 400
    assert plant.device(child) == before


def test_two_parents_and_unknown_scopes_are_refused(plant: Plant) -> None:
    """Also a scope of an edge device that was there before under the same id."""
    leaf = plant.device("l1")
    for scopes, problem in (
        (("a", "b"), "names 2 parents, not one"),
        (("ms-azure-iot-edge://top-1",), "is not that of another edge device"),
        (("nonsense",), "is not that of another edge device"),
    ):
        with pytest.raises(HubError, match=problem):
            plant.hosted.registry.update_device(replace(leaf, scope=None, parent_scopes=scopes))


def test_who_has_children_stays_an_edge_device(plant: Plant) -> None:
    """Until they are taken away."""
    registry = plant.hosted.registry
    with pytest.raises(HubError, match="device 'mid' has children"):
        registry.update_device(replace(plant.device("mid"), edge=False))
    registry.set_parent("l2", None)
    now = registry.update_device(replace(plant.device("mid"), edge=False))
    assert (now.edge, now.scope, now.parent_scopes) == (False, plant.top.scope, (plant.top.scope,))


def test_layers_and_children_are_limited(plant: Plant) -> None:
    """Also when a whole branch is moved below another device."""
    registry = plant.hosted.registry
    for n in range(MAX_LAYERS):
        registry.create_device(f"e{n}")
    for n in range(1, MAX_LAYERS):
        registry.set_parent(f"e{n}", f"e{n - 1}")
    registry.set_parent("stranger", f"e{MAX_LAYERS - 1}")
    with pytest.raises(HubError, match=f"makes {MAX_LAYERS + 1} layers"):
        registry.set_parent("e0", "top")

    scope = plant.device("mid").scope

    def fill(cloud: Cloud) -> None:
        for n in range(MAX_CHILDREN):
            child = Device(f"child{n:03}", cloud.registry.fresh_keys(), scope=scope)
            cloud.registry.put_device(child)

    with pytest.raises(HubError, match=f"device 'mid' has {MAX_CHILDREN} children"):
        plant.hosted.store.do(fill)
    registry.update_device(plant.device("l2"))


def test_children_of_a_removed_parent_are_nobodys(plant: Plant) -> None:
    """A later edge device of the same id has nothing of them."""
    plant.hosted.registry.delete_device("mid")
    leaf = plant.device("l2")
    assert (leaf.scope, leaf.parent_scopes) == (None, ())


# --- what an edge hub is told


def test_a_hub_sees_its_device_its_children_and_their_modules(plant: Plant) -> None:
    """Of a child that is an edge device only the device: the rest is in the child's scope."""
    got = plant.get("devicesAndModulesInDeviceScope", deviceCount="10")
    assert ids(got) == (["top", "l1", "mid"], ["top/$edgeAgent", "top/$edgeHub", "top/m"])
    assert got["continuationLink"] is None
    devices, modules = got["devices"], got["modules"]
    assert isinstance(devices, list)
    assert isinstance(modules, list)
    assert devices[1] == {
        "deviceId": "l1",
        "generationId": plant.device("l1").generation_id,
        "status": "enabled",
        "authentication": plant.device("l1").authentication.to_json(),
        "capabilities": {"iotEdge": False},
        "deviceScope": plant.top.scope,
        "parentScopes": [plant.top.scope],
    }
    assert set(modules[0]) >= {"moduleId", "deviceId", "generationId", "authentication"}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_scope_comes_in_pages(plant: Plant, size: int) -> None:
    """Each page names the next; together they are the whole, once."""
    got = plant.get("devicesAndModulesInDeviceScope", deviceCount=str(size))
    found = ids(got)[0]
    while got["continuationLink"] is not None:
        got = plant.follow(got["continuationLink"])
        found += ids(got)[0]
    assert found == ["top", "l1", "mid"]


def test_a_nested_scope_comes_in_pages_too(plant: Plant) -> None:
    """By the link of the answer before."""
    what, found, link = "devicesAndModulesInTargetDeviceScope", [], None
    while True:
        got = plant.ask(what, "mid;top", pageSize=1, continuationLink=link)
        found.append(ids(got))
        link = got["continuationLink"]
        if link is None:
            break
    assert found == [(["mid"], ["mid/$edgeAgent", "mid/$edgeHub"]), (["l2"], ["l2/m"])]
    assert ids(plant.ask(what, "top"))[0] == ["top", "l1", "mid"]


def test_one_of_the_scope(plant: Plant) -> None:
    """The device, and the module that is asked for; nobody outside the scope."""
    one = "deviceAndModuleInDeviceScope"
    assert ids(plant.get(one, targetDeviceId="l1", targetModuleId="")) == (["l1"], [])
    assert ids(plant.get(one, targetDeviceId="l2", targetModuleId="m")) == (["l2"], ["l2/m"])
    for query in ({"targetDeviceId": "stranger"}, {"targetDeviceId": "none"}):
        assert plant.get(one, **query).status == 404
    assert plant.get(one, targetDeviceId="l1", targetModuleId="none").status == 404


@pytest.mark.parametrize("chain", ["l2;mid;top", "mid;top", "top", "l2;mid;top/$edgeHub"])
def test_one_for_somebody_else(plant: Plant, chain: str) -> None:
    """By its own chain, or by that of an edge device above it."""
    got = plant.ask("getDeviceAndModuleOnBehalfOf", chain, targetDeviceId="l2", targetModuleId="m")
    assert ids(got) == (["l2"], ["l2/m"])


def test_modules_of_a_nested_device(plant: Plant) -> None:
    """Made, found, listed and removed, with etags, as by the device itself."""
    chain = "mid;top"
    body = {"moduleId": "x", "deviceId": "mid", "managedBy": "IotEdge"}
    made = plant.ask("putModuleOnBehalfOf", chain, method="PUT", module=body)
    assert (made.status, made["deviceId"], made["managedBy"]) == (200, "mid", "IotEdge")
    assert plant.ask("putModuleOnBehalfOf", chain, method="PUT", module=body).status == 409
    again = plant.ask("putModuleOnBehalfOf", chain, method="PUT", module=body, if_match="*")
    assert (again.status, again["generationId"]) == (200, made["generationId"])
    assert plant.ask("getModuleOnBehalfOf", chain, targetModuleId="x").body == again.body
    listed = plant.ask("getModulesOnTargetDevice", chain).body
    assert isinstance(listed, list)
    assert [one["moduleId"] for one in listed] == ["$edgeAgent", "$edgeHub", "x"]
    assert plant.ask("deleteModuleOnBehalfOf", chain, moduleId="x", if_match='"no"').status == 412
    assert plant.ask("deleteModuleOnBehalfOf", chain, moduleId="x").status == 204
    assert plant.ask("getModuleOnBehalfOf", chain, targetModuleId="x").status == 404
    other = {**body, "deviceId": "l1"}
    assert plant.ask("putModuleOnBehalfOf", chain, method="PUT", module=other).status == 400


@pytest.mark.parametrize(
    ("chain", "status"),
    [
        ("l2;top", 401),
        ("stranger;top", 401),
        ("none;top", 401),
        ("l2;mid", 401),
        ("mid;top;top/m", 401),
        ("mid;;top", 401),
        ("", 400),
        (7, 400),
    ],
)
def test_a_chain_that_is_not_the_hierarchy_is_refused(
    plant: Plant, chain: object, status: int
) -> None:
    """Whatever is asked."""
    got = plant.ask("getModulesOnTargetDevice", chain)
    assert got.status == status
    assert "chain" in got.message.lower() or "is not a child" in got.message


def test_only_an_edge_hub_asks_for_itself(plant: Plant) -> None:
    """No other module, no other device's hub, no old api-version, no token of long ago."""
    what = "devicesAndModulesInDeviceScope"
    agent = plant.hosted.call(
        f"GET /devices/top/modules/$edgeAgent/{what}",
        token=plant.token("top", "$edgeAgent"), version=GET,
    )  # fmt: skip
    assert agent.status == 401
    assert plant.get(what, plant.token("mid")).status == 401
    assert plant.get(what, **{"api-version": "2010-01-01"}).status == 400
    old = plant.token()
    plant.hosted.clock.move(31)
    assert plant.get(what, old).status == 401


@pytest.mark.parametrize(
    "query", [{"deviceCount": "0"}, {"deviceCount": "x"}, {"continuationToken": "ü"}]
)
def test_bad_pages_are_refused(plant: Plant, query: dict[str, str]) -> None:
    """With what was expected."""
    assert plant.get("devicesAndModulesInDeviceScope", **query).status == 400


# --- who speaks for whom


@pytest.mark.parametrize(
    ("who", "chain"),
    [
        ("l1", "l1;top"),
        ("l1", "l1;top/$edgeHub"),
        ("mid", "mid;top"),
        ("l2", "l2;mid;top"),
        ("l2/m", "l2/m;l2;mid;top"),
        ("l2/m", "l2/m;mid;top/$edgeHub"),
        ("mid/$edgeHub", "mid/$edgeHub;mid;top"),
        ("top/m", "top/m;top"),
        ("top/m", "top/m;top/$edgeHub"),
        ("top/m", "top/m;top;top/$edgeHub"),
    ],
)
def test_a_hub_connects_for_those_below_it(plant: Plant, who: str, chain: str) -> None:
    """With its own token, whose time is the connection's."""
    expiry = int(plant.hosted.clock.now().timestamp() + 30)
    assert plant.connect(who, chain) == Connected(Identity.parse(who), expiry)


@pytest.mark.parametrize(
    ("who", "chain", "problem"),
    [
        ("l1", "l2;mid;top", "is of l2, not of l1"),
        ("l2", "l2;top", "'l2' is not a child of 'top'"),
        ("stranger", "stranger;top", "'stranger' is not a child of 'top'"),
        ("l2", "l2;mid", "the token is not for module 'mid/\\$edgeHub'"),
        ("top", "top;top/$edgeHub", "has to speak for itself"),
        ("top/$edgeHub", "top/$edgeHub;top", "has to speak for itself"),
        ("top/none", "top/none;top", "not found"),
        ("l2", "l2;l2/m;mid;top", "is not known"),
    ],
)
def test_a_hub_connects_for_nobody_else(plant: Plant, who: str, chain: str, problem: str) -> None:
    """Whatever it claims."""
    with pytest.raises(HubError, match=problem):
        plant.connect(who, chain)


@pytest.mark.parametrize("off", ["l2", "mid", "top"])
def test_a_disabled_device_ends_the_chain(plant: Plant, off: str) -> None:
    """Itself, or anyone above it."""
    registry = plant.hosted.registry
    registry.update_device(replace(plant.device(off), status=Status.DISABLED))
    with pytest.raises(HubError) as caught:
        plant.connect("l2", "l2;mid;top")
    assert caught.value.status == 401


def test_those_below_are_looked_at_when_the_hub_changes(plant: Plant) -> None:
    """A hub with new keys, a moved device: whoever was connected so is checked again."""

    def told() -> set[str]:
        return {str(one.identity) for one in plant.hosted.store.do(lambda c: c.outbox.take())}

    told()
    hub = plant.hosted.registry.modules("top")[1]
    plant.hosted.store.do(lambda cloud: cloud.registry.put_module(hub, "*"))
    assert told() == {"top/$edgeHub", "top", "l1", "mid", "l2"}
    plant.hosted.registry.set_parent("mid", None)
    assert told() == {"mid", "l2"}


def test_a_chain_is_read_as_hubs_write_it() -> None:
    """The target, then the devices up to the actor."""
    assert parse_chain("d/m;d;p;a/$edgeHub") == Chain(Identity("d", "m"), ("d", "p", "a"))
    assert parse_chain("a") == Chain(Identity("a"), ("a",))


@given(st.text(alphabet="ab/$;edgeHub", max_size=40))
def test_any_chain_is_read_or_refused(text: str) -> None:
    """What is read names devices only, nobody twice in a row."""
    try:
        chain = parse_chain(text)
    except HubError:
        return
    assert chain.target.device_id == chain.devices[0]
    assert all(one and "/" not in one and ";" not in one for one in chain.devices)
    assert all(a != b for a, b in pairwise(chain.devices))
