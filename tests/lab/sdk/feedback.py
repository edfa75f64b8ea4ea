"""The stock service SDK purges a device's messages and reads, abandons and completes feedback."""

import json
import sys

from azure.iot.hub import IoTHubRegistryManager

calls = IoTHubRegistryManager.from_connection_string(sys.argv[1]).protocol.cloud_to_device_messages
facts: dict[str, object] = {}


def feedback() -> tuple[int, str, list[str]]:
    """Return status, lock token and the states that are told."""
    got = calls.receive_feedback_notification(raw=True).response
    records = got.json() if got.content else []
    return (
        got.status_code,
        got.headers.get("etag", "").strip('"'),
        [record["statusCode"] for record in records],
    )


purged = calls.purge_cloud_to_device_message_queue("d1")
facts["purged"] = [purged.device_id, purged.total_messages_purged]
status, token, states = feedback()
facts["told"] = [status, states]
facts["locked"] = feedback()[0]
calls.abandon_feedback_notification(token)
status, token, states = feedback()
facts["again"] = [status, states]
calls.complete_feedback_notification(token)
facts["gone"] = feedback()[0]
sys.stdout.write(json.dumps(facts))
