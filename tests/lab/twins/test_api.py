"""Twins over REST and from the device: versions, metadata, etags, limits."""

import json
from typing import Any

import pytest

from harness.lab import HUB, Got, Hosted
from skerry.wire.identity import Identity
from skerry_lab.outbox import Kind

VERSION = "2021-04-12"
DEVICE = Identity("d1")


@pytest.fixture
def site(hosted: Hosted) -> Hosted:
    hosted.registry.create_device("d1")
    return hosted


def call(site: Hosted, line: str, body: object = None, etag: str | None = None) -> Got:
    """Call with the rights of an owner."""
    policy = site.store.do(lambda cloud: cloud.policies.get("iothubowner"))
    assert policy is not None
    token = site.token(HUB, policy.keys[0], policy.name)
    return site.call(line, body, token=token, version=VERSION, if_match=etag)


def part(got: Got, name: str) -> dict[str, Any]:
    properties = got["properties"]
    assert isinstance(properties, dict)
    found: dict[str, Any] = properties[name]
    return found


def test_a_new_twin_is_empty(site: Hosted) -> None:
    """Version 1, with all that the registry knows."""
    got = call(site, "GET /twins/d1")
    assert (got.status, got.headers["etag"]) == (200, '"AAAAAAAAAAE="')
    assert got["version"] == 1
    assert got["properties"] == {
        "desired": {"$metadata": {}, "$version": 1},
        "reported": {"$metadata": {}, "$version": 1},
    }
    assert got["capabilities"] == {"iotEdge": True}
    assert got["connectionState"] == "Disconnected"


def test_a_patch_is_merged_with_its_metadata(site: Hosted) -> None:
    """When, and for desired ones at which version."""
    call(site, "PATCH /twins/d1", {"properties": {"desired": {"a": {"b": 1, "c": 2}, "d": 3}}})
    got = call(
        site, "PATCH /twins/d1", {"tags": {"x": 1}, "properties": {"desired": {"a": {"b": None}}}}
    )
    desired = part(got, "desired")
    assert (desired["a"], desired["d"], desired["$version"]) == ({"c": 2}, 3, 3)
    assert desired["$metadata"]["$lastUpdatedVersion"] == 3
    assert desired["$metadata"]["a"]["c"]["$lastUpdatedVersion"] == 2
    assert desired["$metadata"]["d"]["$lastUpdatedVersion"] == 2
    assert "b" not in desired["$metadata"]["a"]
    assert (got["tags"], got["version"]) == ({"x": 1}, 3)


def test_a_put_replaces(site: Hosted) -> None:
    """What is not named is gone; a module has a twin of its own."""
    path = "/twins/d1/modules/$edgeAgent"
    call(site, f"PATCH {path}", {"tags": {"old": 1}, "properties": {"desired": {"old": 1}}})
    got = call(site, f"PUT {path}", {"properties": {"desired": {"new": None, "kept": 1}}})
    assert (got["tags"], got["moduleId"]) == ({}, "$edgeAgent")
    assert {k for k in part(got, "desired") if k[0] != "$"} == {"kept"}
    assert call(site, "GET /twins/d1")["version"] == 1


def test_a_twin_that_is_read_can_be_written_back(site: Hosted) -> None:
    """The hub's own additions do not disturb."""
    call(site, "PATCH /twins/d1", {"properties": {"desired": {"a": 1}}})
    twin = call(site, "GET /twins/d1").body
    assert part(call(site, "PUT /twins/d1", twin), "desired")["a"] == 1


def test_another_version_is_not_changed(site: Hosted) -> None:
    """412, and the twin stays; the right etag and a star are taken."""
    assert call(site, "PATCH /twins/d1", {"tags": {"a": 1}}, '"other"').status == 412
    assert call(site, "GET /twins/d1")["tags"] == {}
    for etag in ('"AAAAAAAAAAE="', "*"):
        assert call(site, "PATCH /twins/d1", {"tags": {"a": 1}}, etag).status == 200


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"tags": []}, 400, "tags is a list, expected a JSON object"),
        ({"properties": []}, 400, "properties is not a JSON object"),
        ({"tags": {"a.b": 1}}, 400, "tags has the name 'a.b'"),
        ({"tags": {"": 1}}, 400, "tags has the name ''"),
        ({"tags": {"a": "x" * 4097}}, 400, "tags.a is longer than 4096 bytes"),
        ({"tags": {"a": 2**52}}, 400, "tags.a is 4503599627370496, expected an integer within"),
        ({"tags": {"a": [None]}}, 400, "tags.a has null in a list"),
        ({"tags": {f"t{n}": "x" * 4000 for n in range(3)}}, 413, "expected at most 8192"),
        (
            {"properties": {"desired": {f"t{n}": "x" * 4000 for n in range(9)}}},
            413,
            "expected at most 32768",
        ),
    ],
)
def test_what_a_twin_cannot_hold_is_refused(
    body: object, status: int, message: str, site: Hosted
) -> None:
    """With the property and the limit; nothing is stored."""
    got = call(site, "PATCH /twins/d1", body)
    assert got.status == status
    assert message in got.message
    assert call(site, "GET /twins/d1")["version"] == 1


def test_ten_levels_are_taken_and_no_more(site: Hosted) -> None:
    """Of objects and lists."""
    deep: object = 1
    for _ in range(9):
        deep = {"a": deep}
    assert call(site, "PATCH /twins/d1", {"tags": {"x": deep}}).status == 200
    assert "nested too deeply" in call(site, "PATCH /twins/d1", {"tags": {"x": [deep]}}).message


def test_reports_have_versions_of_their_own(site: Hosted) -> None:
    """They leave the etag; their metadata has times only."""

    def report(patch: object) -> int:
        return site.store.do(lambda cloud: cloud.twins.patch_reported(DEVICE, patch))

    assert [report({"a": 1}), report({"a": None, "b": {"c": True}})] == [2, 3]
    got = call(site, "GET /twins/d1")
    reported = part(got, "reported")
    assert (reported["b"], reported["$version"], got["version"]) == ({"c": True}, 3, 1)
    assert set(reported["$metadata"]["b"]["c"]) == {"$lastUpdated"}


def test_nobody_is_nobody(site: Hosted) -> None:
    """404 with IoT Hub's code."""
    assert call(site, "GET /twins/none").status == 404
    got = call(site, "GET /twins/d1/modules/none")
    assert got.headers["iothub-errorcode"] == "ModuleNotFound"


def test_a_twin_goes_with_its_device(site: Hosted) -> None:
    """A new device of the same name begins anew, its modules too."""
    for path in ("/twins/d1", "/twins/d1/modules/$edgeAgent"):
        call(site, f"PATCH {path}", {"tags": {"a": 1}})
    site.registry.delete_device("d1")
    site.registry.create_device("d1")
    for path in ("/twins/d1", "/twins/d1/modules/$edgeAgent"):
        assert call(site, f"GET {path}")["tags"] == {}


def test_who_is_connected_is_told_what_changed(site: Hosted) -> None:
    """The patch, or for a replacement the difference; wanting the same again is silent."""

    def wants(desired: dict[str, object]) -> list[tuple[object, object]]:
        def work(cloud: object) -> list[tuple[object, object]]:
            services = site.store.cloud
            services.outbox.take()
            services.twins.set_desired(DEVICE, desired)
            found = services.outbox.take()
            assert {one.kind for one in found} <= {Kind.DESIRED}
            return [(one.data["version"], one.data["patch"]) for one in found]

        return site.store.do(work)

    assert wants({"a": 1, "b": 2}) == [(2, {"a": 1, "b": 2})]
    assert wants({"b": 3}) == [(3, {"a": None, "b": 3})]
    assert wants({"b": 3}) == []


def test_the_device_gets_no_metadata(site: Hosted) -> None:
    """Only its properties and their versions."""
    call(site, "PATCH /twins/d1", {"tags": {"t": 1}, "properties": {"desired": {"a": 1}}})
    document = site.store.do(lambda cloud: cloud.twins.document(DEVICE))
    assert document == {"desired": {"a": 1, "$version": 2}, "reported": {"$version": 1}}
    json.dumps(document)
