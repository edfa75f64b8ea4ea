"""Configurations over REST: what is stored and shown, and every way to be refused."""

import asyncio
import json
from typing import Any

import pytest

from harness.lab import HUB, Got, Hosted
from harness.lab_fleet import device_content, edge_content
from skerry.heads.routes import Request, Router
from skerry.wire.identity import Identity
from skerry_lab.configurations.live_api import LiveConfigurationsApi
from skerry_lab.configurations.service import MAX_CONFIGURATIONS
from skerry_lab.query import service as queries
from skerry_lab.query.api import StoredTwins
from skerry_lab.query.query import parse_query
from skerry_lab.registry.errors import HubError

VERSION = "2021-04-12"


class Service:
    """Calls as a policy, to both kinds of routes."""

    def __init__(self, hosted: Hosted, policy: str = "iothubowner") -> None:
        self.hosted = hosted
        found = hosted.store.do(lambda cloud: cloud.policies.get(policy))
        assert found is not None
        self.token = hosted.token(HUB, found.keys[0], policy)

    def put(self, name: str, body: object, if_match: str | None = None) -> Got:
        return self.call(f"PUT /configurations/{name}", body, if_match)

    def call(self, line: str, body: object = None, if_match: str | None = None) -> Got:
        return self.hosted.call(line, body, token=self.token, version=VERSION, if_match=if_match)

    def get(self, path: str, **query: str) -> Got:
        headers = {"authorization": self.token}
        request = Request("GET", path, {"api-version": VERSION, **query}, headers)
        found = Router(LiveConfigurationsApi(self.hosted.store).routes()).find(request)
        assert found is not None
        try:
            answer: Any = asyncio.run(_answer(found[0](request, **found[1])))
        except HubError as error:
            answer = self.hosted.store.cloud.refusal(error)
        return Got(answer.status, json.loads(answer.body), answer.headers)


async def _answer(waiting: Any) -> Any:
    return await waiting


@pytest.fixture
def service(hosted: Hosted) -> Service:
    """The owner of a lab with device `a`, site 1, and edge device `e`."""
    hosted.registry.create_device("a", edge=False)
    hosted.registry.create_device("e")
    hosted.store.do(lambda cloud: cloud.twins.patch(Identity("a"), tags={"site": 1}))
    return Service(hosted)


def test_what_is_stored_is_shown(service: Service) -> None:
    """With times, etag and the results of all metrics."""
    body = {
        "id": "c",
        "content": device_content(rate=5),
        "targetCondition": "tags.site = 1",
        "priority": 7,
        "labels": {"by": "me"},
        "metrics": {"queries": {"slow": "SELECT * FROM devices WHERE tags.site < 5"}},
    }
    made = service.put("c", body)
    assert made.status == 201
    shown = service.get("/configurations/c")
    assert shown.headers["etag"] == f'"{shown["etag"]}"'
    assert isinstance(shown.body, dict)
    assert {name: shown.body[name] for name in ("id", "content", "labels", "priority")} == {
        name: body[name] for name in ("id", "content", "labels", "priority")
    }
    assert shown["createdTimeUtc"] == "2026-11-23T12:00:00.000000Z"
    assert shown["systemMetrics"] == {
        "results": {"targetedCount": 1, "appliedCount": 1},
        "queries": {
            "targetedCount": "select deviceId from devices where tags.site = 1",
            "appliedCount": "select deviceId from devices "
            "where configurations.[[c]].status = 'Applied'",
        },
    }
    assert shown["metrics"] == {"results": {"slow": 1}, "queries": body["metrics"]["queries"]}  # type: ignore[index]
    twin = service.call("GET /twins/a")
    assert twin["configurations"] == {"c": {"status": "Applied"}}


def test_etags_guard_changes(service: Service) -> None:
    """A stale one changes nothing; content stays, the rest may change."""
    body = {"content": device_content(rate=5), "targetCondition": "*", "priority": 1}
    first = service.put("c", body)["etag"]
    changed = service.put("c", {"targetCondition": "tags.site = 1", "priority": 2}, str(first))
    assert (changed.status, changed["priority"]) == (200, 2)
    assert changed["content"] == body["content"]
    for line, sent in (("PUT", body), ("DELETE", None)):
        stale = service.call(f"{line} /configurations/c", sent, f'"{first}"')
        assert stale.status == 412
    other = {**body, "content": device_content(rate=6)}
    assert service.put("c", other, "*").headers["iothub-errorcode"] == (
        "CannotModifyImmutableConfigurationContent"
    )
    assert service.get("/configurations/c")["priority"] == 2
    assert service.call("DELETE /configurations/c", None, str(changed["etag"])).status == 204
    assert service.get("/configurations/c").status == 404


def test_the_list_has_a_top(service: Service) -> None:
    """The oldest first."""
    for name in ("b", "a", "c"):
        service.put(name, {"content": edge_content(base=True)})
    found = service.get("/configurations", top="2").body
    assert isinstance(found, list)
    assert [one["id"] for one in found] == ["b", "a"]
    assert set(found[0]["systemMetrics"]["queries"]) == set(found[0]["systemMetrics"]["results"])
    assert service.get("/configurations", top="0").status == 400
    assert len(service.get("/configurations").body) == 3  # type: ignore[arg-type]


def test_the_queries_of_system_metrics_find_what_was_counted(service: Service) -> None:
    """Each is a query that the lab answers."""
    module = {"moduleContent": {"properties.desired.x": 1}}
    service.put("m", {"content": module, "targetCondition": "FROM devices.modules"})
    for name, content in (("c", device_content(rate=5)), ("d", edge_content(base=True))):
        service.put(name, {"content": content, "targetCondition": "*"})
    service.put("n", {"content": device_content(n=5)})
    for name in "mcdn":
        found = service.get(f"/configurations/{name}")["systemMetrics"]
        assert isinstance(found, dict)
        texts = [parse_query(text) for text in found["queries"].values()]
        counted = asyncio.run(queries.count(StoredTwins(service.hosted.store), texts))
        assert dict(zip(found["queries"], counted, strict=True)) == found["results"]


@pytest.mark.parametrize(
    ("body", "status", "code", "why"),
    [
        ({}, 400, "InvalidConfigurationContent", "content is not a JSON object"),
        ({"content": {}}, 400, "InvalidConfigurationContent", "content has nothing"),
        ({"content": {"x": {}}}, 400, "InvalidConfigurationContent", "'x', expected one of"),
        (
            {"content": {**device_content(a=1), **edge_content(m={"a": 1})}},
            400,
            "InvalidConfigurationContent",
            "'deviceContent', 'modulesContent', expected one",
        ),
        ({"content": {"deviceContent": {}}}, 400, "ArgumentInvalid", "deviceContent is empty"),
        (
            {"content": device_content(a="x" * 5000)},
            400,
            "ArgumentInvalid",
            "longer than 4096 bytes",
        ),
        (
            {"content": device_content(**{f"k{n}": "x" * 4000 for n in range(9)})},
            413,
            "RequestEntityTooLarge",
            "expected 32768",
        ),
        (
            {"content": {"modulesContent": {f"m{n}": {} for n in range(51)}}},
            400,
            "ArgumentInvalid",
            "names 51 modules",
        ),
        ({"targetCondition": "tags.a = "}, 400, "InvalidConfigurationTargetCondition", "column 10"),
        (
            {"targetCondition": "FROM devices.modules WHERE moduleId = 'm'"},
            400,
            "InvalidConfigurationTargetCondition",
            "expected a condition of devices",
        ),
        ({"targetCondition": 1}, 400, "ArgumentInvalid", "targetCondition is not a text"),
        ({"targetCondition": "x" * 9000}, 400, "ArgumentInvalid", "at most 8192 characters"),
        ({"priority": -1}, 400, "ArgumentInvalid", "priority is -1"),
        ({"priority": True}, 400, "ArgumentInvalid", "priority is True"),
        ({"labels": []}, 400, "ArgumentInvalid", "labels is not a JSON object"),
        ({"labels": {"a": 1}}, 400, "ArgumentInvalid", "labels 'a' is not a text"),
        ({"metrics": 1}, 400, "ArgumentInvalid", "metrics is not a JSON object"),
        (
            {"metrics": {"queries": {"m": "SELECT"}}},
            400,
            "InvalidConfigurationCustomMetricsQuery",
            "metric 'm': column 7",
        ),
        (
            {"metrics": {"queries": {f"m{n}": "SELECT * FROM devices" for n in range(21)}}},
            400,
            "ArgumentInvalid",
            "has 21 entries",
        ),
        ({"id": "other"}, 400, "ArgumentInvalid", "id is 'other'"),
    ],
)
def test_what_is_refused(
    service: Service, body: dict[str, object], status: int, code: str, why: str
) -> None:
    """With the code of IoT Hub and the reason; nothing is stored."""
    content = {} if not body or "content" in body else {"content": device_content(rate=1)}
    got = service.put("c", {**content, **body})
    assert (got.status, got.headers["iothub-errorcode"]) == (status, code)
    assert why in got.message
    assert service.get("/configurations").body == []


def test_names_that_are_taken_unknown_or_not_valid(service: Service) -> None:
    """409, 404, 400; and 413 when there are too many."""
    body = {"content": device_content(rate=1)}
    assert service.put("c", body).status == 201
    assert service.put("c", body).status == 409
    assert service.put("none", body, "*").status == 404
    assert service.call("DELETE /configurations/none").status == 404
    assert service.put("a%20b", body).status == 400
    assert service.call("POST /configurations/c").status == 405

    def fill(cloud: Any) -> None:
        for number in range(1, MAX_CONFIGURATIONS):
            cloud.configurations.put(f"n{number}", body, None)

    service.hosted.store.do(fill)
    full = service.put("more", body)
    assert (full.status, full.headers["iothub-errorcode"]) == (
        413,
        "ConfigurationCountLimitExceeded",
    )
    assert service.put("deployment", {"content": edge_content(base=True)}).status == 201


def test_rights(service: Service) -> None:
    """Reading needs RegistryRead, changing RegistryWrite."""
    reader, other = Service(service.hosted, "registryRead"), Service(service.hosted, "service")
    body = {"content": device_content(rate=1)}
    assert reader.put("c", body).status == 403
    assert reader.call("DELETE /configurations/c").status == 403
    assert reader.get("/configurations").status == 200
    assert other.get("/configurations").status == 403
    assert other.get("/configurations/c").status == 403
    assert other.call("POST /configurations/testQueries", {}).status == 403


def test_queries_are_tested(service: Service) -> None:
    """Each with what is wrong with it."""
    body = {
        "targetCondition": "tags.a == 1",
        "customMetricQueries": {"good": "SELECT * FROM devices", "bad": "SELECT FROM devices"},
    }
    got = service.call("POST /configurations/testQueries", body)
    assert got.status == 200
    assert "column 9" in str(got["targetConditionError"])
    assert list(got["customMetricQueryErrors"]) == ["bad"]  # type: ignore[call-overload]
    good = service.call("POST /configurations/testQueries", {"targetCondition": "*"})
    assert good.body == {"targetConditionError": None, "customMetricQueryErrors": {}}
    assert service.call("POST /configurations/testQueries", {"targetCondition": 1}).status == 400
