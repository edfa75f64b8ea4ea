"""The registry through the stock service SDK: prints what it saw. Argument: connection string."""

import base64
import json
import sys

from azure.iot.hub import IoTHubRegistryManager
from msrest.exceptions import HttpOperationError

KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in range(4)]


def main() -> None:
    manager = IoTHubRegistryManager.from_connection_string(sys.argv[1])
    device = manager.create_device_with_sas("d1", KEYS[0], KEYS[1], "enabled", iot_edge=True)
    said = {"created": device.device_id, "edge": device.capabilities.iot_edge}
    said["modules"] = sorted(module.module_id for module in manager.get_modules("d1"))
    module = manager.create_module_with_sas("d1", "m1", "me", KEYS[2], KEYS[3])
    said["module"] = [module.module_id, module.managed_by]
    said["module key"] = (
        manager.get_module("d1", "m1").authentication.symmetric_key.primary_key == KEYS[2]
    )
    updated = manager.update_device_with_sas("d1", device.etag, KEYS[2], KEYS[3], "disabled")
    said["updated"] = [updated.status, updated.authentication.symmetric_key.primary_key == KEYS[2]]
    try:
        manager.update_device_with_sas("d1", device.etag, KEYS[0], KEYS[1], "enabled")
    except HttpOperationError as error:
        said["stale etag"] = error.response.status_code
    manager.create_device_with_certificate_authority("d2", "enabled")
    manager.create_device_with_x509("d3", "A" * 40, "B" * 40, "enabled")
    said["devices"] = [[d.device_id, d.authentication.type] for d in manager.get_devices()]
    counts = manager.get_device_registry_statistics()
    said["statistics"] = [counts.total_device_count, counts.disabled_device_count]
    said["connected"] = manager.get_service_statistics().connected_device_count
    manager.delete_module("d1", "m1")
    manager.delete_device("d1")
    try:
        manager.get_device("d1")
    except HttpOperationError as error:
        said["gone"] = error.response.status_code
    sys.stdout.write(json.dumps(said))


main()
