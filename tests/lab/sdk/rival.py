"""Two clients of one device: the second closes the first."""

from _common import FACTS, Box, client_options, say
from azure.iot.device import IoTHubDeviceClient, Message

options = {"connection_retry": False, "auto_connect": False, **client_options()}
first = IoTHubDeviceClient.create_from_connection_string(FACTS["device"], **options)
first.connect()
closed = Box()
first.on_connection_state_change = closed
second = IoTHubDeviceClient.create_from_connection_string(FACTS["device"], **options)
second.connect()
closed.get()
second.send_message(Message("second"))
say({"first": first.connected, "second": second.connected})
first.shutdown()
second.shutdown()
