"""A module of the stock SDK on an edge device: it sends numbers for as long as it lives.

One JSON a line: each number once it was acknowledged, and every change of the connection.
"""

import json
import sys
import time

from azure.iot.device import IoTHubModuleClient, Message


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


client = IoTHubModuleClient.create_from_edge_environment(connection_retry_interval=1)
client.on_connection_state_change = lambda: say({"connected": client.connected})
client.connect()
number = 0
while True:
    client.send_message_to_output(
        Message(str(number), content_type="application/json", content_encoding="utf-8"), "numbers"
    )
    say(number)
    number += 1
    time.sleep(0.02)
