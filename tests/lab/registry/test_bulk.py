"""`POST /devices`: many devices at once, each one whole or not at all."""

import pytest

from harness.lab import HUB, Got, Hosted
from skerry.wire.identity import Identity


def bulk(hosted: Hosted, *entries: object, policy: str = "iothubowner") -> Got:
    found = hosted.store.do(lambda cloud: cloud.policies.get(policy))
    assert found is not None
    token = hosted.token(HUB, found.keys[0], policy)
    return hosted.call("POST /devices", list(entries), token=token, version="2021-04-12")


def test_all_modes(hosted: Hosted) -> None:
    """Devices and modules come, change under their etags, and go."""
    made = bulk(
        hosted,
        {"id": "d1", "importMode": "create", "tags": {"a": 1}},
        {"id": "d2", "importMode": "create", "status": "disabled", "statusReason": "new"},
        {"id": "d3", "importMode": "create", "capabilities": {"iotEdge": True}},
        {"id": "d3", "moduleId": "m", "importMode": "create", "properties": {"desired": {"x": 1}}},
    )
    assert (made.status, made.body) == (200, {"isSuccessful": True, "errors": [], "warnings": []})
    assert [one.module_id for one in hosted.registry.modules("d3")] == [
        "$edgeAgent",
        "$edgeHub",
        "m",
    ]
    first, second = hosted.registry.device("d1"), hosted.registry.device("d2")
    assert (second.status, second.status_reason) == ("disabled", "new")
    twin = hosted.store.do(lambda cloud: cloud.twins.get(Identity("d1")))
    assert twin.tags == {"a": 1}
    changed = bulk(
        hosted,
        {"id": "d1", "importMode": "updateIfMatchETag", "eTag": first.etag, "status": "disabled"},
        {"id": "d2", "importMode": "deleteIfMatchETag", "eTag": f'"{second.etag}"'},
        {"id": "d3", "moduleId": "m", "importMode": "delete"},
        {"id": "d3", "importMode": "updateTwin", "tags": {"b": 2}},
    )
    assert changed.status == 200, changed
    assert hosted.registry.device("d1").authentication == first.authentication
    assert hosted.registry.device("d1").status == "disabled"
    assert len(hosted.registry.modules("d3")) == 2
    twinned = {"id": "d1", "importMode": "updateTwinIfMatchETag", "twinETag": twin.etag}
    assert bulk(hosted, {**twinned, "tags": {"a": None}}).status == 200
    assert bulk(hosted, twinned).status == 400


def test_what_fails_leaves_the_others(hosted: Hosted) -> None:
    """Each failure says whose it is, and what the single request would have said."""
    hosted.registry.create_device("old", edge=False)
    got = bulk(
        hosted,
        {"id": "old", "importMode": "create"},
        {"id": "new", "importMode": "create"},
        {"id": "new", "importMode": "update"},
        {"id": "none", "importMode": "delete"},
        {"id": "old", "moduleId": "m", "importMode": "update"},
        {"id": "bad id", "importMode": "create"},
        {"id": "x1", "importMode": "make"},
        {"id": "x2", "importMode": "create", "tags": {"a b": 1}},
        {"id": "x3", "importMode": "updateIfMatchETag"},
    )
    assert got.status == 400
    assert got["isSuccessful"] is False
    errors = got["errors"]
    assert isinstance(errors, list)
    assert [(one["deviceId"], one["errorCode"]) for one in errors] == [
        ("old", "DeviceAlreadyExists"),
        ("new", "DeviceDefinedMultipleTimes"),
        ("none", "DeviceNotFound"),
        ("old", "ModuleNotFound"),
        ("bad id", "ArgumentInvalid"),
        ("x1", "ArgumentInvalid"),
        ("x2", "ArgumentInvalid"),
        ("x3", "ArgumentInvalid"),
    ]
    assert errors[3]["moduleId"] == "m"
    assert errors[0]["operation"] == "create"
    assert "expected one of create, update" in errors[5]["errorStatus"]
    ids = hosted.store.do(lambda cloud: [one.device_id for one in cloud.registry.store.devices(9)])
    assert ids == ["new", "old"]


@pytest.mark.parametrize(
    ("entries", "status", "why"),
    [
        ([{"id": f"d{n}", "importMode": "create"} for n in range(101)], 413, "at most 100"),
        ([1], 400, "is int, expected an object"),
        ([{"id": "d", "importMode": "create"}, {"importMode": "create"}], 400, "has id None"),
    ],
)
def test_a_list_that_is_refused_whole(
    hosted: Hosted, entries: list[object], status: int, why: str
) -> None:
    """Nothing of it is done."""
    got = bulk(hosted, *entries)
    assert (got.status, why in got.message) == (status, True)
    assert hosted.store.do(lambda cloud: cloud.registry.store.count_devices()) == {}


def test_the_right_to_change_is_needed(hosted: Hosted) -> None:
    """Reading is not enough, and a body has to be a list."""
    assert bulk(hosted, {"id": "d", "importMode": "create"}, policy="registryRead").status == 403
    owner = hosted.store.do(lambda cloud: cloud.policies.get("iothubowner"))
    assert owner is not None
    token = hosted.token(HUB, owner.keys[0], "iothubowner")
    got = hosted.call("POST /devices", {}, token=token, version="2021-04-12")
    assert (got.status, "expected a JSON list" in got.message) == (400, True)


def test_parents_are_given_kept_and_taken(hosted: Hosted) -> None:
    """An update that names none leaves it; an empty list takes it away."""
    scope = hosted.registry.create_device("edge").scope
    assert bulk(hosted, {"id": "leaf", "importMode": "create", "deviceScope": scope}).status == 200
    assert hosted.registry.device("leaf").parent_scopes == (scope,)
    assert bulk(hosted, {"id": "leaf", "importMode": "update", "status": "disabled"}).status == 200
    assert hosted.registry.device("leaf").parent_scopes == (scope,)
    assert bulk(hosted, {"id": "leaf", "importMode": "update", "parentScopes": []}).status == 200
    assert hosted.registry.device("leaf").parent_scopes == ()
    got = bulk(hosted, {"id": "leaf", "importMode": "update", "deviceScope": "none"})
    assert got.status == 400
