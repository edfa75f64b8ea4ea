"""The stock service SDK, unmodified, and messages to devices."""

import json
from pathlib import Path

import pytest

from harness import sdk
from skerry.wire.identity import Identity
from skerry_lab.messages.model import Ack, Outgoing
from skerry_lab.server import Lab

SCRIPT = Path(__file__).parents[1] / "sdk/feedback.py"


@pytest.mark.sdk
def test_the_service_sdk_purges_and_reads_feedback(lab: Lab, tmp_path: Path) -> None:
    """By azure-iot-hub's own calls, over TLS."""
    root = tmp_path / "root.pem"
    root.write_text(lab.root_pem)
    lab.registry.create_device("d1")
    wanted = Outgoing(Identity("d1"), b"x", ack=Ack.NEGATIVE)
    for _ in range(2):
        lab.store.do(lambda cloud: cloud.messages.send(wanted))
    owner = lab.store.do(lambda cloud: cloud.policies.get("iothubowner"))
    assert owner is not None
    said = sdk.run(
        SCRIPT,
        owner.connection_string(lab.hub_name),
        environment={"REQUESTS_CA_BUNDLE": str(root)},
    )
    assert json.loads(said) == {
        "purged": ["d1", 2],
        "told": [200, ["Purged", "Purged"]],
        "locked": 204,
        "again": [200, ["Purged", "Purged"]],
        "gone": 204,
    }
