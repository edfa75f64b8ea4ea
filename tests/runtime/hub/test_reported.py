"""What the hub reports of itself to the cloud."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.edge_hub import HUB, EdgeHub, desired, populate
from harness.edged import until
from skerry.base.clock import SystemClock
from skerry.base.log import get_logger
from skerry.heads.links import Link, Links
from skerry.hub.reported import Reporter
from skerry.wire.identity import Identity
from skerry.wire.twins import MAX_BYTES, size_bytes
from skerry.wire.twins import check as check_twin
from skerry_lab.server import Lab

LEAF, A = Identity("leaf"), Identity("edge", "a")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A cloud that has something of a former hub."""
    with Lab(tmp_path / "lab") as running:
        populate(running)
        old = {"clients": {"gone": {"status": "Connected"}}, "stale": 1}
        running.store.do(lambda cloud: cloud.twins.patch_reported(HUB, old))
        yield running


def reported(lab: Lab) -> dict[str, Any]:
    found: Any = lab.store.do(lambda cloud: cloud.twins.document(HUB))["reported"]
    return {name: value for name, value in found.items() if not name.startswith("$")}


def status(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = reported(lab).get("lastDesiredStatus", {})
    return found


def test_settings_and_why_they_are_refused(lab: Lab, tmp_path: Path) -> None:
    """Version and status of the last settings; what a former hub left is gone."""
    with EdgeHub(tmp_path / "hub", lab, report_seconds=0.05) as hub:
        hub.until_ready()
        until(lambda: status(lab).get("code") == 200, "the hub has reported")
        first = reported(lab)
        assert sorted(first) == [
            "clients",
            "lastDesiredStatus",
            "lastDesiredVersion",
            "schemaVersion",
            "version",
        ]
        assert first["clients"] == {}
        bad = desired({"up": "FROM /* INTO nowhere"})
        lab.store.do(lambda cloud: cloud.twins.patch(HUB, desired=bad))
        until(lambda: status(lab)["code"] == 400, "the refusal is reported")
        text = "Error while parsing desired properties - route 'up': column 14: "
        assert status(lab)["description"].startswith(text)
        assert reported(lab)["lastDesiredVersion"] == first["lastDesiredVersion"] + 1


def test_clients_come_and_go(lab: Lab, tmp_path: Path) -> None:
    """A module that has gone stays named, a leaf device does not."""
    with EdgeHub(tmp_path / "hub", lab, report_seconds=0.05) as hub:
        hub.until_ready()
        with hub.device(LEAF) as leaf, hub.device(A) as module:
            assert (leaf.connect().code, module.connect().code) == (0, 0)
            until(lambda: set(reported(lab)["clients"]) == {"leaf", "edge/a"}, "both are named")
            here = reported(lab)["clients"]
            assert {one["status"] for one in here.values()} == {"Connected"}
        until(lambda: set(reported(lab)["clients"]) == {"edge/a"}, "the leaf is not named")
        until(lambda: reported(lab)["clients"]["edge/a"]["status"] == "Disconnected", "it is gone")
        gone = reported(lab)["clients"]["edge/a"]
        assert gone["lastConnectedTimeUtc"] == here["edge/a"]["lastConnectedTimeUtc"]
        assert gone["lastDisconnectTimeUtc"] > gone["lastConnectedTimeUtc"]


def test_too_many_clients_and_odd_names() -> None:
    """What is said fits a twin, modules before leaf devices; what cannot be a name is left out."""
    links = Links()
    names = [f"leaf-{n:04}" for n in range(1000)] + ["edge/m", "a.b", "c$d"]
    for name in names:
        links.add(cast("Link", SimpleNamespace(identity=Identity.parse(name))))
    sent: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

    class Cloud:
        is_connected = True

        async def report(self, patch: Mapping[str, object]) -> int:
            sent.put_nowait(patch)
            return 1

    async def check() -> Mapping[str, Any]:
        reporter = Reporter(links, Cloud, 0.01, SystemClock(), get_logger("hub"))
        reporter.told({"desired": {"$version": 7}, "reported": {"$version": 1}}, "")
        task = asyncio.create_task(reporter.run())
        found = await asyncio.wait_for(sent.get(), 10)
        task.cancel()
        return found

    found = asyncio.run(check())
    assert size_bytes(check_twin(dict(found), "reported")) < MAX_BYTES
    first, *others = found["clients"]
    assert first == "edge/m"
    assert others == names[: len(others)]
    assert len(others) > 100
    assert found["lastDesiredVersion"] == 7
