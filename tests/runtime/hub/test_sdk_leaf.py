"""The stock device SDK, unmodified, as a leaf device behind an edge hub.

Its port is fixed, so the hub takes 8883 and 443 on a loopback address of its own.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import sdk
from harness.edge_hub import EdgeHub, populate
from harness.edged import until
from skerry.hub.server import ServerSettings
from skerry.wire.identity import Identity
from skerry_lab.messages.model import Event, Outgoing
from skerry_lab.server import Lab

pytestmark = [pytest.mark.sdk, pytest.mark.root]

SCRIPT = Path(__file__).parents[2] / "lab/sdk/leaf.py"
HOST = "127.0.9.2"
LEAF = Identity("leaf")
COUNT = 50


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[EdgeHub]:
    with Lab(tmp_path / "lab") as lab:
        populate(lab)
        with EdgeHub(tmp_path / "hub", lab, server=ServerSettings(HOST, 8883, 443)) as running:
            running.until_ready()
            yield running


@pytest.mark.parametrize("websockets", [False, True])
def test_a_leaf_device_talks_to_the_cloud_through_the_hub(
    hub: EdgeHub, tmp_path: Path, websockets: bool
) -> None:
    """Its messages, twin, a method and a message back; all as if it were connected to the cloud."""
    lab, root = hub.lab, tmp_path / "gateway.pem"
    root.write_text(hub.authority.pem)
    facts = {
        "device": f"{lab.connection_string('leaf')};GatewayHostName={HOST}",
        "root": str(root),
        "websockets": websockets,
        "count": COUNT,
    }
    command = [str(sdk.python()), "-W", "ignore", str(SCRIPT), json.dumps(facts)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"twin": 1}
        link = lab.live.links.get(LEAF)
        assert link is not None
        status, payload = lab.submit(link.call("blink", b'{"n":1}', 20.0)).result(20)
        assert (status, json.loads(payload)) == (207, {"got": {"n": 1}})
        lab.store.do(lambda cloud: cloud.twins.patch(LEAF, desired={"rate": 5}))
        assert json.loads(process.stdout.readline()) == {"patch": {"rate": 5, "$version": 2}}
        lab.store.do(lambda c: c.messages.send(Outgoing(LEAF, b"hi", {}, {"x": "1&2"})))
        assert json.loads(process.stdout.readline()) == {"c2d": ["hi", {"x": "1&2"}]}
        assert process.wait(30) == 0
    until(lambda: len(stored(lab)) == COUNT + 1, "all messages have arrived")
    first, *others = (event.telemetry for event in stored(lab))
    assert (first.identity, json.loads(first.body)) == (LEAF, {"t": 21.5})
    assert first.properties["room"] == "a b/ü"
    assert first.system["content-type"] == "application/json"
    assert [one.body.decode() for one in others] == [str(n) for n in range(COUNT)]
    until(lambda: "state" in reported(lab), "what it reported has arrived")


def stored(lab: Lab) -> list[Event]:
    return lab.store.do(lambda cloud: list(cloud.messages.read(0, 100_000, 10**9)))


def reported(lab: Lab) -> str:
    return json.dumps(lab.store.do(lambda cloud: cloud.twins.document(LEAF))["reported"])
