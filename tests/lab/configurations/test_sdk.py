"""The stock service SDK, unmodified: configurations and queries."""

import json
from pathlib import Path

import pytest

from harness import sdk
from skerry_lab.server import Lab

SCRIPT = Path(__file__).parents[1] / "sdk/configurations.py"


@pytest.mark.sdk
def test_the_service_sdk_configures(lab: Lab, tmp_path: Path) -> None:
    """By azure-iot-hub's own calls, over TLS."""
    root = tmp_path / "root.pem"
    root.write_text(lab.root_pem)
    owner = lab.store.do(lambda cloud: cloud.policies.get("iothubowner"))
    assert owner is not None
    said = sdk.run(
        SCRIPT,
        owner.connection_string(lab.hub_name),
        environment={"REQUESTS_CA_BUNDLE": str(root)},
    )
    assert json.loads(said) == {
        "created": ["cool", 10, True],
        "desired": 5,
        "metrics": [{"targetedCount": 1, "appliedCount": 1}, {"all": 2}],
        "updated": 11,
        "stale etag": 412,
        "exists": 409,
        "bad condition": 400,
        "unknown": 404,
        "all": ["cool", "base"],
        "first": ["cool"],
        "query": "e1",
        "tested": [True, {}],
        "taken off": True,
        "bulk": [False, [["none", "DeviceNotFound"]]],
        "statistics": [3, 1],
    }
