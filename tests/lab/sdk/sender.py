"""A device of the stock SDK sends until it is told to stop, whatever happens to its connection.

A line "ready" when it is connected and has subscribed; then one JSON for every desired patch.
After `wait` it tells of its next new connection, after `stop` how many messages were acknowledged.
"""

import threading

from _common import FACTS, Box, client_options, heard, say
from azure.iot.device import IoTHubDeviceClient, Message, exceptions

client = IoTHubDeviceClient.create_from_connection_string(
    FACTS["device"],
    connection_retry_interval=1,
    **({"sastoken_ttl": FACTS["ttl"]} if "ttl" in FACTS else {}),
    **client_options(),
)
stopped = threading.Event()
connections = Box()


def changed() -> None:
    if client.connected:
        connections()


def send() -> None:
    while not stopped.is_set():
        try:
            client.send_message(Message(str(len(sent))))
        except exceptions.ClientError:
            stopped.wait(1.0)  # nobody listens there: the same one again
            continue
        sent.append(len(sent))
        stopped.wait(0.01)


sent: list[int] = []
client.connect()
client.on_connection_state_change = changed
client.on_twin_desired_properties_patch_received = lambda patch: say({"desired": patch})
client.get_twin()
sender = threading.Thread(target=send)
sender.start()
say("ready")
while heard() == "wait":
    connections.get()
    say({"sent": len(sent)})
stopped.set()
sender.join()
client.shutdown()
say({"sent": len(sent)})
