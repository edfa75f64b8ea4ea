"""Targeting survives kill -9 at every system call that changes the database."""

import sqlite3
from pathlib import Path

import pytest

from harness.kill_points import kill_at_every_write
from harness.lab import file_cloud
from harness.lab_fleet import device_content, edge_content
from skerry.wire.identity import Identity
from skerry_lab.cloud import Cloud
from skerry_lab.registry.model import Authentication, AuthType, Device

DEVICES = ("a", "b", "c")


def opened(path: Path) -> tuple[Cloud, sqlite3.Connection]:
    """Open a lab that sweeps one device a step."""
    cloud, connection = file_cloud(path)
    cloud.targeting.step_devices = 1
    return cloud, connection


def holds(cloud: Cloud, device_id: str) -> None:
    """Check that what is marked as applied is in the twins, and nothing else."""
    for module_id, name, wanted in ((None, "new", {"x": 2}), (None, "old", {"x": 1})):
        status = cloud.views.of(Identity(device_id, module_id)).get("configurations", {})
        assert isinstance(status, dict)
        if status.get(name) == {"status": "Applied"}:
            assert cloud.twins.get(Identity(device_id)).desired.properties == wanted


@pytest.mark.faults
def test_a_kill_in_a_sweep_leaves_marks_and_twins_of_one_mind(tmp_path: Path) -> None:
    """After it the sweep goes on, and ends as if nothing had been."""
    path = tmp_path / "lab.db"

    def prepare() -> None:
        for file in tmp_path.iterdir():
            file.unlink()
        cloud, connection = opened(path)
        for device_id in DEVICES:
            cloud.registry.put_device(Device(device_id, Authentication(AuthType.NONE), edge=True))
        body = {"content": device_content(x=1), "targetCondition": "*"}
        cloud.configurations.put("old", body, None)
        while cloud.targeting.step():
            pass
        connection.close()

    def work() -> None:
        cloud, connection = opened(path)
        new = {"content": device_content(x=2), "targetCondition": "tags.t = 1", "priority": 1}
        base = edge_content(base=True, m={"whole": {"y": 1}})
        for step in (
            lambda: cloud.configurations.put("new", new, None),
            lambda: cloud.twins.patch(Identity("b"), tags={"t": 1}),
            lambda: cloud.configurations.put("d", {"content": base, "targetCondition": "*"}, None),
            lambda: cloud.targeting.step(),
            lambda: cloud.configurations.remove("old"),
            lambda: cloud.registry.delete_device("c"),
            lambda: cloud.targeting.step(),
        ):
            connection.execute("BEGIN IMMEDIATE")
            step()
            connection.execute("COMMIT")

    def check() -> None:
        cloud, connection = opened(path)
        present = [one.device_id for one in cloud.registry.store.devices(9)]
        for device_id in present:
            holds(cloud, device_id)
        while cloud.targeting.step():
            for device_id in present:
                holds(cloud, device_id)
        known = {one.configuration_id for one in cloud.configurations.store.all()}
        for device_id in present:
            twin = cloud.twins.get(Identity(device_id))
            newer = "new" in known and twin.tags == {"t": 1}
            expected = {"x": 2} if newer else {"x": 1} if "old" in known else {}
            assert twin.desired.properties == expected
            if "d" in known:
                assert cloud.twins.get(Identity(device_id, "m")).desired.properties == {"y": 1}
        counted = [cloud.configurations.counts(cloud.configurations.get(one)) for one in known]
        assert all(found["targetedCount"] <= len(present) for found in counted)
        connection.close()

    found = kill_at_every_write(prepare, work, check)
    assert {"write", "fsync"} <= set(found.calls)
    assert len(found.calls) > 10
