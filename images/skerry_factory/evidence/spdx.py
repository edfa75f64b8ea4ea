"""The inventory as SPDX 2.3 in JSON; files of no package are its files."""

import hashlib
from collections.abc import Iterable, Mapping

from skerry_factory.evidence.cyclonedx import serial
from skerry_factory.evidence.inventory import Container, Inventory, Package, UnownedFile
from skerry_factory.evidence.licences import is_listed
from skerry_factory.evidence.subject import CREATED, Subject

Json = dict[str, object]
IMAGE = "SPDXRef-image"
NOTHING = "NOASSERTION"


def spdx(subject: Subject, inventory: Inventory) -> Mapping[str, object]:
    """Return the document; the same image gives the same bytes."""
    image: Json = {
        **_common(IMAGE, subject.id, subject.version, ()),
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "checksums": [{"algorithm": "SHA256", "checksumValue": subject.sha256}],
    }
    packages, relations = [image], [_relation("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)]
    for container in inventory.containers:
        packages.append(_container(container))
        relations.append(_relation(IMAGE, "CONTAINS", _id(container.ref)))
    for where, package in inventory.all_packages():
        packages.append(_package(where, package))
        inside = _id(where) if where else IMAGE
        relations.append(_relation(inside, "CONTAINS", _id(where, package.purl)))
    # a package whose files were not all analysed may contain none: the document has them
    files = [_id("file", file.path) for file in inventory.unowned]
    relations += [_relation("SPDXRef-DOCUMENT", "DESCRIBES", file) for file in files]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{subject.id} {subject.version}",
        "documentNamespace": f"urn:uuid:{serial(subject, 'spdx')}",
        "creationInfo": {
            "created": CREATED,
            "creators": [f"Tool: skerry-factory-{subject.version}"],
        },
        "packages": packages,
        "files": [_file(file) for file in inventory.unowned],
        "relationships": relations,
        "hasExtractedLicensingInfos": _unlisted(
            name for _, package in inventory.all_packages() for name in package.licences
        ),
    }


def _common(own: str, name: str, version: str, licences: tuple[str, ...]) -> Json:
    return {
        "SPDXID": own,
        "name": name,
        "versionInfo": version,
        "downloadLocation": NOTHING,
        "filesAnalyzed": False,
        "licenseConcluded": NOTHING,
        "licenseDeclared": " AND ".join(licences) or NOTHING,
        "copyrightText": NOTHING,
    }


def _package(where: str, package: Package) -> Json:
    return {
        **_common(_id(where, package.purl), package.name, package.version, package.licences),
        "sourceInfo": f"built from {package.source} {package.source_version}",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": package.purl,
            }
        ],
    }


def _container(container: Container) -> Json:
    name, _, version = container.ref.rpartition(":")
    digest = container.id.removeprefix("sha256:")
    return {
        **_common(_id(container.ref), name, version, ()),
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": digest}],
    }


def _file(file: UnownedFile) -> Json:
    return {
        "SPDXID": _id("file", file.path),
        "fileName": f"./{file.path}",
        "checksums": [
            {"algorithm": "SHA1", "checksumValue": file.sha1},
            {"algorithm": "SHA256", "checksumValue": file.sha256},
        ],
        "licenseConcluded": NOTHING,
        "licenseInfoInFiles": [NOTHING],
        "copyrightText": NOTHING,
    }


def _unlisted(names: Iterable[str]) -> list[Json]:
    text = "named so in the package's copyright file, which is in the image"
    return [
        {"licenseId": name, "name": name, "extractedText": text}
        for name in sorted(set(names))
        if not is_listed(name)
    ]


def _relation(source: str, kind: str, target: str) -> Json:
    return {
        "spdxElementId": source,
        "relationshipType": kind,
        "relatedSpdxElement": target,
    }


def _id(*parts: str) -> str:
    """Return an identifier of letters and digits that follows from a name."""
    return f"SPDXRef-{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:24]}"
