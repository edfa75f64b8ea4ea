"""What a lab was told to be, as one document: to keep it, to copy it to another lab.

`{"version": 1, "devices": [device + "parent", "modules", "twin"], "certificates": {name:
{"certificate": PEM, "isVerified"}}, "enrollments": […], "configurations": […]}`, keys included. A
parent is named by its id, as its scope is another in each lab. Of a twin there are tags and desired
properties. What devices themselves brought about is not there: reports, messages, registrations.
"""

from collections.abc import Mapping
from dataclasses import replace

from skerry.wire.identity import Identity
from skerry_lab.cloud import Cloud
from skerry_lab.configurations.model import Configuration
from skerry_lab.dps import documents
from skerry_lab.errors import LabError
from skerry_lab.registry.model import Authentication, AuthType, device_from, module_from
from skerry_lab.registry.service import ANY

VERSION = 1

_ALL = 2**31
_DEVICE = ("deviceId", "status", "statusReason", "authentication", "capabilities")
_MODULE = ("moduleId", "managedBy", "authentication")
_ID = {False: "registrationId", True: "enrollmentGroupId"}


def export_lab(cloud: Cloud) -> dict[str, object]:
    """Return the document of a lab."""
    store = cloud.registry.store
    return {
        "version": VERSION,
        "devices": [_device(cloud, device.device_id) for device in store.devices(_ALL)],
        "certificates": {
            one.name: {"certificate": one.pem, "isVerified": one.verified}
            for one in cloud.authorities.all()
        },
        "enrollments": [
            {
                **documents.to_json(one),
                "group": one.group,
                "payload": one.payload,
                "echo": one.echo,
            }
            for one in cloud.dps.enrollments()
        ],
        "configurations": [_configuration(one) for one in cloud.configurations.store.all()],
    }


def import_lab(cloud: Cloud, document: object) -> dict[str, int]:
    """Bring a document in and count what it held; what is there under the same name is replaced.

    Raises: LabError, HubError, DpsError; then nothing has changed.
    """
    body = _table(document, "the file")
    if body.get("version") != VERSION:
        raise LabError(f"the file has version {body.get('version')!r}, expected {VERSION}")
    devices = _list(body, "devices")
    enrollments = _list(body, "enrollments")
    certificates = _table(body.get("certificates", {}), "certificates")
    for device in devices:
        _put_device(cloud, device)
    for device in devices:
        _put_parent(cloud, device)
    for name, pem in certificates.items():
        _put_certificate(cloud, name, pem)
    for enrollment in enrollments:
        group = enrollment.get("group") is True
        enrollment_id = _name(enrollment, _ID[group])
        fresh = Authentication(AuthType.NONE)
        found = documents.from_json(enrollment, enrollment_id, group=group, fresh=fresh)
        echo = enrollment.get("echo") is True
        cloud.dps.put_enrollment(replace(found, payload=enrollment.get("payload"), echo=echo))
    configurations = _list(body, "configurations")
    for configuration in configurations:
        _put_configuration(cloud, configuration)
    counted = {
        "devices": devices,
        "certificates": certificates,
        "enrollments": enrollments,
        "configurations": configurations,
    }
    return {name: len(things) for name, things in counted.items()}


def _device(cloud: Cloud, device_id: str) -> dict[str, object]:
    device = cloud.registry.device(device_id)
    whole, parent = device.to_json(), cloud.registry.hierarchy.parent(device)
    modules = []
    for module in cloud.registry.store.modules(device_id):
        facts = module.to_json()
        identity = Identity(device_id, module.module_id)
        modules.append({**{name: facts[name] for name in _MODULE}, "twin": _twin(cloud, identity)})
    twin = _twin(cloud, Identity(device_id))
    return {
        **{name: whole[name] for name in _DEVICE},
        "parent": None if parent is None else parent.device_id,
        "twin": twin,
        "modules": modules,
    }


def _twin(cloud: Cloud, identity: Identity) -> dict[str, object]:
    twin = cloud.twins.get(identity)
    return {"tags": dict(twin.tags), "desired": dict(twin.desired.properties)}


def _configuration(configuration: Configuration) -> dict[str, object]:
    return {
        "id": configuration.configuration_id,
        "content": dict(configuration.content),
        "targetCondition": configuration.target_condition,
        "priority": configuration.priority,
        "labels": dict(configuration.labels),
        "metrics": {"queries": dict(configuration.metrics)},
    }


def _put_configuration(cloud: Cloud, body: Mapping[str, object]) -> None:
    """Store a configuration; one of that name with another content is removed first."""
    name = _name(body, "id")
    former = cloud.configurations.store.get(name)
    if former is not None and former.content != body.get("content"):
        cloud.configurations.remove(name)
        former = None
    cloud.configurations.put(name, body, None if former is None else ANY)


def _put_device(cloud: Cloud, body: Mapping[str, object]) -> None:
    device_id = _name(body, "deviceId")
    registry = cloud.registry
    exists = registry.store.device(device_id) is not None
    device = device_from(body, device_id, registry.fresh_keys())
    registry.put_device(device, ANY if exists else None)
    _put_twin(cloud, Identity(device_id), body)
    present = {module.module_id for module in registry.store.modules(device_id)}
    for part in _list(body, "modules"):
        module_id = _name(part, "moduleId")
        module = module_from(part, device_id, module_id, registry.fresh_keys())
        registry.put_module(module, ANY if module_id in present else None)
        _put_twin(cloud, Identity(device_id, module_id), part)


def _put_parent(cloud: Cloud, body: Mapping[str, object]) -> None:
    parent = body.get("parent")
    if parent is not None:
        cloud.registry.set_parent(_name(body, "deviceId"), _name(body, "parent"))


def _put_certificate(cloud: Cloud, name: str, found: object) -> None:
    if isinstance(found, str):  # as it was written before there were proofs
        found = {"certificate": found, "isVerified": True}
    body = _table(found, f"certificate {name!r}")
    pem = _name(body, "certificate")
    cloud.authorities.put(name, pem, verified=body.get("isVerified") is True)


def _put_twin(cloud: Cloud, identity: Identity, body: Mapping[str, object]) -> None:
    twin = _table(body.get("twin", {}), "twin")
    tags, desired = twin.get("tags", {}), twin.get("desired", {})
    if {"tags": tags, "desired": desired} != _twin(cloud, identity):
        cloud.twins.replace(identity, tags=tags, desired=desired)


def _name(body: Mapping[str, object], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise LabError(f"the file has {name} {value!r}, expected a text")
    return value


def _list(body: Mapping[str, object], name: str) -> list[dict[str, object]]:
    value = body.get(name, [])
    if not isinstance(value, list):
        raise LabError(f"{name} in the file is no list")
    return [_table(item, name) for item in value]


def _table(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise LabError(f"{what} is {type(value).__name__}, expected a JSON object")
    return value
