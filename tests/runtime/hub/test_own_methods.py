"""The method that the hub answers itself, called from the cloud."""

import asyncio
import json
from pathlib import Path

import pytest

from harness.edge_hub import DEVICE, HUB, EdgeHub, populate
from harness.edged import until
from skerry.hub.own_methods import REFRESH, OwnMethods
from skerry.wire.identity import Identity
from skerry_lab.server import Lab


def test_the_cloud_has_the_scope_refreshed(tmp_path: Path) -> None:
    """A device that was put below the hub is let in when the answer comes; mistakes are told."""
    new = Identity("stranger")
    with Lab(tmp_path / "lab") as lab:
        populate(lab)
        with EdgeHub(tmp_path / "hub", lab) as hub:
            hub.until_ready()
            until(lambda: lab.live.links.get(HUB) is not None, "the hub is connected")
            link = lab.live.links.get(HUB)
            assert link is not None

            def call(name: str, payload: object) -> tuple[int, object]:
                asked = link.call(name, json.dumps(payload).encode(), 10.0)
                status, answer = lab.submit(asked).result(20)
                return status, json.loads(answer)

            lab.registry.set_parent("stranger", DEVICE)
            assert hub.hub.scope.get(new) is None
            assert call(REFRESH, {"deviceIds": ["stranger"]}) == (200, None)
            assert hub.hub.scope.get(new) is not None
            bad: tuple[object, ...] = ({}, {"deviceIds": "stranger"}, {"deviceIds": [1]}, [])
            for payload in bad:
                assert call(REFRESH, payload)[0] == 400
            status, said = call("ping", {})
            assert (status, "no method 'ping'" in str(said)) == (404, True)


@pytest.mark.parametrize("payload", [b"", b"{", b"[" * 100_000])
def test_a_payload_that_is_no_json(payload: bytes) -> None:
    """It is refused, and nothing is asked for."""

    async def never() -> None:
        raise AssertionError

    assert asyncio.run(OwnMethods(never).call(REFRESH, payload))[0] == 400
