"""Configurations and queries through the stock service SDK. Argument: connection string."""

import json
import sys

from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.protocol.models import (
    Configuration,
    ConfigurationContent,
    ConfigurationMetrics,
    ConfigurationQueriesTestInput,
    ExportImportDevice,
    QuerySpecification,
    Twin,
)
from msrest.exceptions import HttpOperationError

AGENT: dict[str, dict[str, object]] = {"$edgeAgent": {"properties.desired": {"modules": {}}}}


def main() -> None:
    manager = IoTHubConfigurationManager.from_connection_string(sys.argv[1])
    registry = IoTHubRegistryManager.from_connection_string(sys.argv[1])
    said: dict[str, object] = {}
    registry.create_device_with_certificate_authority("d1", "enabled")
    registry.create_device_with_certificate_authority("e1", "enabled", iot_edge=True)
    registry.update_twin("d1", Twin(tags={"site": "a"}))
    wanted = Configuration(
        id="cool",
        content=ConfigurationContent(device_content={"properties.desired.rate": 5}),
        target_condition="tags.site = 'a'",
        priority=10,
        labels={"by": "sdk"},
        metrics=ConfigurationMetrics(queries={"all": "SELECT * FROM devices"}),
    )
    made = manager.create_configuration(wanted)
    said["created"] = [made.id, made.priority, made.created_time_utc is not None]
    said["desired"] = registry.get_twin("d1").properties.desired["rate"]
    found = manager.get_configuration("cool")
    said["metrics"] = [found.system_metrics.results, found.metrics.results]
    found.priority = 11
    said["updated"] = manager.update_configuration(found, found.etag).priority
    said["stale etag"] = _status(lambda: manager.update_configuration(found, made.etag))
    said["exists"] = _status(lambda: manager.create_configuration(wanted))
    wanted.id, wanted.target_condition = "bad", "tags.site ="
    said["bad condition"] = _status(lambda: manager.create_configuration(wanted))
    said["unknown"] = _status(lambda: manager.get_configuration("none"))
    content = ConfigurationContent(modules_content=AGENT)
    manager.create_configuration(Configuration(id="base", content=content, target_condition="*"))
    said["all"] = [one.id for one in manager.get_configurations()]
    said["first"] = [one.id for one in manager.get_configurations(1)]
    query = "SELECT deviceId FROM devices.modules WHERE configurations.[[base]].status = 'Applied'"
    said["query"] = registry.query_iot_hub(QuerySpecification(query=query)).items[0].device_id
    tested = manager.test_configuration_queries(
        ConfigurationQueriesTestInput(
            target_condition="tags.x ==", custom_metric_queries={"m": "SELECT * FROM devices"}
        )
    )
    said["tested"] = [bool(tested.target_condition_error), tested.custom_metric_query_errors]
    manager.apply_configuration_on_edge_device("e1", content)
    manager.delete_configuration("cool", "*")
    said["taken off"] = "rate" not in registry.get_twin("d1").properties.desired
    bulk = [
        ExportImportDevice(id="b1", import_mode="create", status="enabled", tags={"site": "b"}),
        ExportImportDevice(id="b2", import_mode="create", status="disabled"),
        ExportImportDevice(id="d1", import_mode="delete"),
        ExportImportDevice(id="none", import_mode="deleteIfMatchETag", e_tag="x"),
    ]
    result = registry.bulk_create_or_update_devices(bulk)
    said["bulk"] = [result.is_successful, [[e.device_id, e.error_code] for e in result.errors]]
    counts = registry.get_device_registry_statistics()
    said["statistics"] = [counts.total_device_count, counts.disabled_device_count]
    sys.stdout.write(json.dumps(said))


def _status(call: object) -> int:
    try:
        call()  # type: ignore[operator]
    except HttpOperationError as error:
        return int(error.response.status_code)
    return 200


main()
