"""The hub's desired properties: parsed whole or refused whole, and where messages go by them."""

import pytest

from skerry.hub.desired import parse_desired
from skerry.hub.errors import DesiredError
from skerry.hub.routes.model import Message
from skerry.hub.store.model import DEFAULT_PRIORITY, FullPolicy, Target


def document(**changes: object) -> dict[str, object]:
    """Desired properties with one route."""
    return {
        "schemaVersion": "1.1",
        "routes": {"up": "FROM /messages/* INTO $upstream"},
        "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
        **changes,
    }


def test_a_message_goes_once_to_each_endpoint_by_its_best_route() -> None:
    """Two routes lead upstream: the one with the lower number counts, with its own time."""
    routes = {
        "all": "FROM /messages/* INTO $upstream",
        "hot": {
            "route": "FROM /messages/* WHERE as_number(t) > 30 INTO $upstream",
            "priority": 1,
            "timeToLiveSecs": 60,
        },
        "in": 'FROM /messages/modules/m INTO BrokeredEndpoint("/modules/n/inputs/i")',
    }
    desired = parse_desired(document(routes=routes))
    cold, hot = (Message("/messages/modules/m", {"t": text}) for text in ("29", "31"))
    assert desired.targets(cold, "edge") == [
        Target("upstream", DEFAULT_PRIORITY, 7200.0),
        Target("edge/n/i", DEFAULT_PRIORITY, 7200.0),
    ]
    assert Target("upstream", 1, 60.0) in desired.targets(hot, "edge")
    assert len(desired.targets(hot, "edge")) == 2
    assert desired.targets(Message("/twinChangeNotifications"), "edge") == []


def test_a_route_that_is_null_or_blank_is_taken_out() -> None:
    """As the cloud removes one from a twin."""
    routes = {"a": None, "b": "  ", "c": {"route": ""}}
    assert parse_desired(document(routes=routes)).routes == ()


def test_a_schema_knows_what_came_with_it() -> None:
    """What a later one has is passed over, as upstream does."""
    later = {"mqttBroker": 5, "integrity": 5}
    for version in ("1.0", "1.1"):
        assert parse_desired(document(schemaVersion=version, **later)).routes
    assert parse_desired(document(schemaVersion="1.2", integrity=5)).routes
    broker = {"authorizations": [{"identities": ["a"]}], "bridges": [{"endpoint": "$upstream"}]}
    whole = document(schemaVersion="1.3", mqttBroker=broker, integrity={"header": {}})
    assert parse_desired(whole) == parse_desired(document(schemaVersion="1.3"))


@pytest.mark.parametrize("version", ["1.0", "1.1.0", "1.2", "1.3"])
def test_schema_versions_of_upstream_are_read(version: str) -> None:
    """A patch number means nothing."""
    assert parse_desired(document(schemaVersion=version)).ttl_seconds == 7200.0


def test_what_the_store_may_hold() -> None:
    """A negative time to live means for ever."""
    store = {
        "timeToLiveSecs": -1,
        "storeLimits": {"maxSizeBytes": 1000},
        "whenFull": "drop-oldest-lowest-priority",
    }
    desired = parse_desired(document(storeAndForwardConfiguration=store))
    assert (desired.ttl_seconds, desired.max_bytes) == (None, 1000)
    assert desired.when_full is FullPolicy.DROP_OLDEST


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schemaVersion": None}, "'schemaVersion' is None, expected 1.0 to 1.3"),
        ({"schemaVersion": "2.0"}, "'schemaVersion' is '2.0'"),
        ({"schemaVersion": "1.4"}, "'schemaVersion' is '1.4'"),
        ({"routes": []}, "'routes' is not an object"),
        ({"routes": {"a.b": "FROM /* INTO $upstream"}}, "route 'a.b' must not have '.'"),
        ({"routes": {"r": "FROM /* INTO $nowhere"}}, "route 'r': column 14"),
        ({"routes": {"r": 5}}, "route 'r' is 5, expected a text"),
        ({"routes": {"r": {"route": "x", "priority": 10}}}, "has the priority 10, expected 0 to 9"),
        ({"routes": {"r": {"route": "x", "priority": True}}}, "has the priority True"),
        ({"routes": {"r": {"route": "x", "timeToLiveSecs": -1}}}, "'timeToLiveSecs' -1"),
        ({"storeAndForwardConfiguration": None}, "'storeAndForwardConfiguration' is missing"),
        ({"storeAndForwardConfiguration": {"timeToLiveSecs": "1"}}, "'timeToLiveSecs' is '1'"),
        ({"storeAndForwardConfiguration": {"storeLimits": {}}}, "'maxSizeBytes' is None"),
        ({"storeAndForwardConfiguration": {"whenFull": "?"}}, "'whenFull' is '?', expected 'ref"),
        (
            {"schemaVersion": "1.0", "routes": {"r": {"route": "FROM /* INTO $upstream"}}},
            "route 'r' is an object, which takes 'schemaVersion' 1.1; use a text",
        ),
        ({"schemaVersion": "1.2", "mqttBroker": 5}, "'mqttBroker' has 'authorizations' that is"),
        ({"schemaVersion": "1.2", "mqttBroker": {"bridges": [1]}}, "has 'bridges' that is not a"),
        ({"schemaVersion": "1.3", "integrity": "x"}, "'integrity' is not an object"),
        ({"storeAndForwardConfiguration": {"timeToLiveSecs": 2**31}}, "'timeToLiveSecs' is 2147"),
        ({"routes": {"r": {"route": "x", "timeToLiveSecs": 2**32}}}, "expected 0 to 4294967295"),
        ({"routes": {"r": {"route": "x", "priority": -1}}}, "has the priority -1"),
        ({"routes": {"r": {"priority": 1}}}, "route 'r' is None, expected a text"),
        ({"routes": {"": "FROM /* INTO $upstream"}}, "must not have"),
    ],
)
def test_what_cannot_be_used_is_named(changes: dict[str, object], said: str) -> None:
    """The whole is refused."""
    with pytest.raises(DesiredError) as refused:
        parse_desired(document(**changes))
    assert said in str(refused.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Two bad routes, two problems."""
    routes = {"a": "FROM", "b": "INTO", "good": "FROM /* INTO $upstream"}
    with pytest.raises(DesiredError) as refused:
        parse_desired(document(routes=routes))
    assert [text.split(":")[0] for text in refused.value.problems] == ["route 'a'", "route 'b'"]


def test_a_document_is_an_object() -> None:
    """Anything else is refused."""
    with pytest.raises(DesiredError, match="not a JSON object"):
        parse_desired([])
