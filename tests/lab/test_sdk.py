"""The stock service SDK, unmodified, against the lab."""

import json
from pathlib import Path

import pytest

from harness import sdk
from skerry_lab.server import Lab

SCRIPTS = Path(__file__).parent / "sdk"


@pytest.mark.sdk
def test_the_registry_serves_the_service_sdk(lab: Lab, tmp_path: Path) -> None:
    """azure-iot-hub creates, reads, updates under etags, lists, counts and deletes."""
    root = tmp_path / "root.pem"
    root.write_text(lab.root_pem)
    owner = lab.store.do(lambda cloud: cloud.policies.get("iothubowner"))
    assert owner is not None
    said = sdk.run(
        SCRIPTS / "registry.py",
        owner.connection_string(lab.hub_name),
        environment={"REQUESTS_CA_BUNDLE": str(root)},
    )
    assert json.loads(said) == {
        "created": "d1",
        "edge": True,
        "modules": ["$edgeAgent", "$edgeHub"],
        "module": ["m1", "me"],
        "module key": True,
        "updated": ["disabled", True],
        "stale etag": 412,
        "devices": [["d1", "sas"], ["d2", "certificateAuthority"], ["d3", "selfSigned"]],
        "statistics": [3, 1],
        "connected": 0,
        "gone": 404,
    }
