"""A device of the stock SDK registers with DPS, connects where it is sent, and sends."""

from _common import FACTS, client_options, say
from azure.iot.device import X509, IoTHubDeviceClient, Message, ProvisioningDeviceClient

options = client_options()
common = {
    "provisioning_host": FACTS["host"],
    "registration_id": FACTS["registration"],
    "id_scope": FACTS["scope"],
    **options,
}
if "certificate" in FACTS:
    pair = X509(FACTS["certificate"], FACTS["certificate"])
    registering = ProvisioningDeviceClient.create_from_x509_certificate(x509=pair, **common)
else:
    registering = ProvisioningDeviceClient.create_from_symmetric_key(
        symmetric_key=FACTS["key"], **common
    )
registering.provisioning_payload = {"model": "pump"}
result = registering.register()
state = result.registration_state
if "certificate" in FACTS:
    client = IoTHubDeviceClient.create_from_x509_certificate(
        pair, state.assigned_hub, state.device_id, **options
    )
else:
    client = IoTHubDeviceClient.create_from_symmetric_key(
        FACTS["key"], state.assigned_hub, state.device_id, **options
    )
client.connect()
client.send_message(Message("provisioned"))
client.shutdown()
say({"status": result.status, "hub": state.assigned_hub, "device": state.device_id})
