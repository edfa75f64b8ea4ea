"""Routes evaluated once for what differs in its body only."""

from collections.abc import Mapping

import pytest

from skerry.heads.model import Telemetry
from skerry.hub.decisions import Decisions
from skerry.hub.desired import parse_desired
from skerry.wire.identity import Identity

JSON = {"content-type": "application/json", "content-encoding": "utf-8"}
A = Identity("edge", "a")


def decisions(route: str) -> Decisions:
    return Decisions(
        parse_desired(
            {
                "schemaVersion": "1.1",
                "routes": {"only": route},
                "storeAndForwardConfiguration": {"timeToLiveSecs": -1},
            }
        ),
        "edge",
    )


def endpoints(
    routes: Decisions,
    properties: Mapping[str, str] | None = None,
    body: bytes = b"",
    identity: Identity = A,
    system: Mapping[str, str] = JSON,
) -> list[str]:
    found = routes.of(Telemetry(identity, system, properties or {}, body))
    return [target.endpoint for target in found.targets]


@pytest.mark.parametrize("condition", ["$body.t > 20", "hot = 'x' OR $body.t > 20"])
def test_a_condition_on_the_body_is_asked_again(condition: str) -> None:
    """Same sender, same properties, other body: another way."""
    routes = decisions(f"FROM /messages/* WHERE {condition} INTO $upstream")
    for _ in range(2):
        assert endpoints(routes, body=b'{"t": 21}') == ["upstream"]
        assert endpoints(routes, body=b'{"t": 19}') == []


def test_sender_and_properties_decide() -> None:
    """What differs in any of them is told apart, and the same is decided once."""
    routes = decisions("FROM /messages/modules/a/outputs/o WHERE hot = '1' INTO $upstream")
    out = {"output-name": "o"}
    for _ in range(2):
        assert endpoints(routes, {"hot": "1"}, system=out) == ["upstream"]
        assert endpoints(routes, {"hot": "0"}, system=out) == []
        assert endpoints(routes, {"hot": "1"}) == []
        assert endpoints(routes, {"hot": "1"}, system=out, identity=Identity("edge", "b")) == []
        assert endpoints(routes, {"hot": "1"}, system=out, identity=Identity("leaf")) == []
    message = Telemetry(A, out, {"hot": "1"}, b"1")
    other = Telemetry(A, dict(out), {"hot": "1"}, b"2")
    assert routes.of(message) is routes.of(other)
    assert routes.of(message).system == {
        "output-name": "o",
        "connection-device-id": "edge",
        "connection-module-id": "a",
    }


def test_what_is_remembered_is_bounded() -> None:
    """A sender whose every message has other properties, and one whose properties are long."""
    routes = decisions("FROM /messages/* INTO $upstream")
    first = Telemetry(A, {}, {"n": "first"}, b"")
    known = routes.of(first)
    assert routes.of(first) is known
    for n in range(2000):
        assert endpoints(routes, {"n": str(n)}) == ["upstream"]
    assert routes.of(first) is not known
    long = Telemetry(A, {}, {"n": "x" * 600}, b"")
    assert routes.of(long) is not routes.of(long)
