"""`POST /devices/query`: pages, tokens, rights."""

import asyncio
import json
from collections.abc import Mapping

import pytest

from harness.lab import HUB, Got, Hosted
from skerry.heads.routes import Request
from skerry.wire.identity import Identity
from skerry_lab.cloud import Cloud
from skerry_lab.query.api import QueryApi
from skerry_lab.registry.errors import HubError
from skerry_lab.registry.model import Authentication, AuthType, Device


def query(
    hosted: Hosted, text: object, policy: str = "service", headers: Mapping[str, str] | None = None
) -> Got:
    found = hosted.store.do(lambda cloud: cloud.policies.get(policy))
    assert found is not None
    sent = {"authorization": hosted.token(HUB, found.keys[0], policy), **(headers or {})}
    version = {"api-version": "2021-04-12"}
    body = json.dumps({"query": text}).encode()
    request = Request("POST", "/devices/query", version, sent, body)
    try:
        answer = asyncio.run(QueryApi(hosted.store).query(request))
    except HubError as error:
        answer = hosted.store.cloud.refusal(error)
    return Got(answer.status, json.loads(answer.body), answer.headers)


@pytest.fixture
def many(hosted: Hosted) -> Hosted:
    """250 devices d000…, every second on site `a`; an edge device with its two modules."""

    def work(cloud: Cloud) -> None:
        for number in range(250):
            identity = Identity(f"d{number:03}")
            cloud.registry.put_device(Device(identity.device_id, Authentication(AuthType.NONE)))
            if number % 2:
                cloud.twins.patch(identity, tags={"site": "a", "n": number})
        cloud.registry.put_device(Device("edge", cloud.registry.fresh_keys(), edge=True))
        cloud.twins.patch(Identity("edge", "$edgeAgent"), desired={"x": 1})

    hosted.store.do(work)
    return hosted


def test_a_result_comes_in_pages(many: Hosted) -> None:
    """Each page has what was asked for; the last one has no token, also when it is full."""
    text = "SELECT deviceId FROM devices WHERE tags.site = 'a'"
    seen, sizes, headers = [], [], {"x-ms-max-item-count": "25"}
    while True:
        got = query(many, text, headers=headers)
        assert (got.status, got.headers["x-ms-item-type"]) == (200, "Raw")
        assert isinstance(got.body, list)
        seen += [row["deviceId"] for row in got.body]
        sizes.append(len(got.body))
        if "x-ms-continuation" not in got.headers:
            break
        headers = {**headers, "x-ms-continuation": got.headers["x-ms-continuation"]}
    assert sizes == [25] * 5
    assert seen == [f"d{number:03}" for number in range(1, 250, 2)]
    whole = query(many, "select * from devices")
    assert isinstance(whole.body, list)
    assert (len(whole.body), whole.headers["x-ms-item-type"]) == (100, "Twin")
    assert whole.body[1]["tags"] == {"site": "a", "n": 1}
    assert whole.body[1]["connectionState"] == "Disconnected"


def test_groups_and_tops_in_pages(many: Hosted) -> None:
    """Groups are cut into pages like twins; TOP counts through all pages."""
    text = "SELECT tags.n, count() AS c FROM devices GROUP BY tags.n"
    first = query(many, text, headers={"x-ms-max-item-count": "120"})
    token = first.headers["x-ms-continuation"]
    last = query(many, text, headers={"x-ms-max-item-count": "120", "x-ms-continuation": token})
    assert isinstance(first.body, list)
    assert isinstance(last.body, list)
    assert (len(first.body), len(last.body)) == (120, 6)
    assert sum(row["c"] for row in first.body + last.body) == 251
    assert query(many, "SELECT COUNT() FROM devices").body == [{"$1": 251}]
    top = "SELECT TOP 3 deviceId FROM devices"
    first = query(many, top, headers={"x-ms-max-item-count": "2"})
    token = first.headers["x-ms-continuation"]
    last = query(many, top, headers={"x-ms-max-item-count": "2", "x-ms-continuation": token})
    assert last.body == [{"deviceId": "d002"}]
    assert "x-ms-continuation" not in last.headers


def test_modules_are_asked_too(many: Hosted) -> None:
    """Each with its own twin and its device's status."""
    got = query(many, "SELECT * FROM devices.modules WHERE status = 'enabled'")
    assert isinstance(got.body, list)
    assert [row["moduleId"] for row in got.body] == ["$edgeAgent", "$edgeHub"]
    assert got.body[0]["properties"]["desired"]["x"] == 1
    got = query(many, "SELECT deviceId FROM devices.modules WHERE properties.desired.x = 1")
    assert got.body == [{"deviceId": "edge"}]


@pytest.mark.parametrize(
    ("text", "headers", "why"),
    [
        (None, {}, "query is missing"),
        ("select", {}, "the query cannot be used: column 7"),
        ("select * from devices", {"x-ms-max-item-count": "0"}, "x-ms-max-item-count is '0'"),
        ("select * from devices", {"x-ms-max-item-count": "many"}, "expected 1 to 1000"),
        ("select * from devices", {"x-ms-continuation": "x"}, "is not a token of this query"),
        ("select * from devices", {"x-ms-continuation": "WzFd"}, "is not a token of this query"),
    ],
)
def test_what_is_refused(
    hosted: Hosted, text: object, headers: Mapping[str, str], why: str
) -> None:
    """With 400 and the reason."""
    got = query(hosted, text, headers=headers)
    assert (got.status, why in got.message) == (400, True), got


def test_a_token_is_for_its_own_query_and_a_policy_needs_the_right(many: Hosted) -> None:
    """A token of one query does not go on in another one."""
    token = query(many, "select * from devices").headers["x-ms-continuation"]
    other = query(many, "select tags from devices", headers={"x-ms-continuation": token})
    assert other.status == 400
    assert query(many, "select * from devices", policy="registryRead").status == 403
