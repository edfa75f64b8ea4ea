"""A module of the stock SDK on an edge device: it sends numbers for as long as it lives.

No two runs send the same number. One JSON a line: each number once it was acknowledged, every
change of the connection, and what the SDK could not do, which is then tried again.
"""

import json
import sys
import time
from collections.abc import Callable

from azure.iot.device import IoTHubModuleClient, Message
from azure.iot.device.exceptions import ClientError

PAUSE_SECONDS, RETRY_SECONDS = 0.02, 0.5


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def insist(work: Callable[[], None]) -> None:
    while True:
        try:
            return work()
        except ClientError as error:
            say({"failed": repr(error)})
            time.sleep(RETRY_SECONDS)


def send(number: int) -> None:
    message = Message(str(number), content_type="application/json", content_encoding="utf-8")
    insist(lambda: client.send_message_to_output(message, "numbers"))
    say(number)


client = IoTHubModuleClient.create_from_edge_environment(connection_retry_interval=1)
client.on_connection_state_change = lambda: say({"connected": client.connected})
insist(client.connect)
number = time.time_ns() // 1000
while True:
    send(number)
    number += 1
    time.sleep(PAUSE_SECONDS)
