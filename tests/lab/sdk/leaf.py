"""A leaf device of the stock SDK behind an edge hub: twin, message, method, message back."""

import json

from _common import FACTS, Box, client_options, say
from azure.iot.device import IoTHubDeviceClient, Message, MethodRequest, MethodResponse

client = IoTHubDeviceClient.create_from_connection_string(FACTS["device"], **client_options())
patches, messages = Box(), Box()


def answer(request: MethodRequest) -> None:
    client.send_method_response(
        MethodResponse.create_from_method_request(request, 207, {"got": request.payload})
    )


client.on_twin_desired_properties_patch_received = patches
client.on_message_received = messages
client.on_method_request_received = answer
client.connect()
twin = client.get_twin()
client.patch_twin_reported_properties({"state": {"on": True}})
message = Message(
    json.dumps({"t": 21.5}), content_type="application/json", content_encoding="utf-8"
)
message.custom_properties["room"] = "a b/ü"
client.send_message(message)
for n in range(FACTS["count"]):
    client.send_message(Message(str(n)))
say({"twin": twin["desired"]["$version"]})
while "rate" not in str(patch := patches.get()):
    continue  # the SDK itself tells of the twin that it reads when it connects
say({"patch": patch})
said = messages.get()
assert isinstance(said, Message)
say({"c2d": [said.data.decode(), said.custom_properties]})
client.disconnect()
client.shutdown()
