"""A device and a module of the stock SDK do all they can, the service SDK beside them."""

import urllib.request
from typing import Any

from _common import FACTS, Box, client_options, say
from azure.iot.device import (
    X509,
    IoTHubDeviceClient,
    IoTHubModuleClient,
    Message,
    MethodResponse,
)
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

owner = IoTHubRegistryManager(FACTS["owner"])
options = client_options()


def device() -> IoTHubDeviceClient:
    if "certificate" in FACTS:
        return IoTHubDeviceClient.create_from_x509_certificate(
            X509(FACTS["certificate"], FACTS["certificate"]), FACTS["host"], "d1", **options
        )
    return IoTHubDeviceClient.create_from_connection_string(FACTS["device"], **options)


def answer_methods(client: Any) -> None:
    def answer(request: Any) -> None:
        found = MethodResponse.create_from_method_request(request, 207, {"got": request.payload})
        client.send_method_response(found)

    client.on_method_request_received = answer


def run_device() -> dict[str, object]:
    client = device()
    client.connect()
    message = Message('{"t": 21.5}', "m 1", "utf-8", "application/json")
    message.correlation_id = "c/1"
    message.custom_properties["naïve/k&y="] = "välue & more=1+2%"
    client.send_message(message)
    client.send_message(Message("x" * 262_000))
    seen: dict[str, object] = {"twin": client.get_twin()}
    desired, c2d = Box(), Box()
    client.on_twin_desired_properties_patch_received = desired
    client.on_message_received = c2d
    answer_methods(client)
    received: Any = c2d.get()
    seen["c2d"] = [received.data.decode(), received.message_id, received.custom_properties]
    client.patch_twin_reported_properties({"firmware": {"version": 7}})
    twin = owner.get_twin("d1")
    seen["reported"] = twin.properties.reported["firmware"]["version"]
    wanted = Twin(tags={"site": "x"}, properties=TwinProperties(desired={"rate": 5}))
    owner.update_twin("d1", wanted, twin.etag)
    seen["desired"] = desired.get()
    answer = owner.invoke_device_method("d1", _method())
    seen["method"] = [answer.status, answer.payload]
    seen["upload"] = upload(client)
    client.shutdown()
    return seen


def upload(client: IoTHubDeviceClient) -> int:
    info = client.get_storage_info_for_blob("log.txt")
    url = "https://{hostName}/{containerName}/{blobName}{sasToken}".format(**info)
    headers = {"x-ms-blob-type": "BlockBlob"}
    request = urllib.request.Request(url, b"a file", headers, method="PUT")  # noqa: S310
    with urllib.request.urlopen(request) as response:  # noqa: S310
        status = response.status
    client.notify_blob_upload_status(info["correlationId"], True, 201, "done")
    return int(status)


def run_module() -> dict[str, object]:
    client = IoTHubModuleClient.create_from_connection_string(FACTS["module"], **options)
    client.connect()
    client.send_message_to_output(Message("out"), "alerts")
    desired = Box()
    client.on_twin_desired_properties_patch_received = desired
    client.on_message_received = Box()
    client.patch_twin_reported_properties({"a": 1})
    answer_methods(client)
    owner.update_module_twin(
        "d1", "m1", Twin(properties=TwinProperties(desired={"b": [1, {"c": 2}]})), "*"
    )
    seen: dict[str, object] = {"desired": desired.get()}
    answer = owner.invoke_device_module_method("d1", "m1", _method())
    seen["method"] = [answer.status, answer.payload]
    client.shutdown()
    return seen


def _method() -> CloudToDeviceMethod:
    return CloudToDeviceMethod(method_name="go", payload={"n": 1}, response_timeout_in_seconds=20)


say({"device": run_device(), "module": run_module()})
