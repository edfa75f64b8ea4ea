"""The inventory as CycloneDX 1.6 in JSON; files of no package are components of type `file`."""

import uuid
from collections.abc import Mapping

from skerry_factory.epoch import derived_uuid
from skerry_factory.evidence.inventory import Container, Inventory, Package, UnownedFile
from skerry_factory.evidence.licences import is_listed
from skerry_factory.evidence.subject import CREATED, Subject

Json = dict[str, object]


def cyclonedx(subject: Subject, inventory: Inventory) -> Mapping[str, object]:
    """Return the document; the same image gives the same bytes."""
    components = [_package(package, "os") for package in inventory.packages]
    components += [_container(container) for container in inventory.containers]
    components += [_file(file) for file in inventory.unowned]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial(subject, 'cyclonedx')}",
        "version": 1,
        "metadata": {
            "timestamp": CREATED,
            "tools": {
                "components": [
                    {"type": "application", "name": "skerry-factory", "version": subject.version}
                ]
            },
            "component": {
                "type": "operating-system",
                "bom-ref": "image",
                "name": subject.id,
                "version": subject.version,
                "hashes": [{"alg": "SHA-256", "content": subject.sha256}],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": "image", "dependsOn": [component["bom-ref"] for component in components]}
        ],
    }


def serial(subject: Subject, what: str) -> uuid.UUID:
    """Return an identifier that follows from the image alone."""
    return derived_uuid(subject.id, f"{what}/{subject.sha256}")


def _package(package: Package, where: str) -> Json:
    component: Json = {
        "type": "library",
        "bom-ref": f"{where}:{package.purl}",
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "properties": [
            {"name": "skerry:source", "value": f"{package.source} {package.source_version}"},
            {"name": "skerry:size_bytes", "value": str(package.size_bytes)},
        ],
    }
    if package.licences:
        component["licenses"] = [
            {"license": {"id" if is_listed(name) else "name": name}} for name in package.licences
        ]
    return component


def _container(container: Container) -> Json:
    return {
        "type": "container",
        "bom-ref": container.ref,
        "name": container.ref.rpartition(":")[0],
        "version": container.ref.rpartition(":")[2],
        "hashes": [{"alg": "SHA-256", "content": container.id.removeprefix("sha256:")}],
        "components": [_package(package, container.ref) for package in container.packages],
    }


def _file(file: UnownedFile) -> Json:
    return {
        "type": "file",
        "bom-ref": f"file:{file.path}",
        "name": file.path,
        "hashes": [{"alg": "SHA-256", "content": file.sha256}],
    }
