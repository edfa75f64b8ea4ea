"""The inventory of an image and its two SBOMs: complete, the same each time, well-formed."""

import hashlib
import json

import pytest

from skerry_factory.contents.model import Contents
from skerry_factory.evidence.cyclonedx import cyclonedx
from skerry_factory.evidence.inventory import take_inventory
from skerry_factory.evidence.licences import licences_of_copyright
from skerry_factory.evidence.spdx import spdx
from skerry_factory.evidence.subject import Subject


def test_every_package_is_there(contents: Contents) -> None:
    """Installed Debian packages, Python packages, and those in the layers of containers."""
    found = [
        (where, one.name, one.version) for where, one in take_inventory(contents).all_packages()
    ]
    own = [
        ("dash", "0.5.12-12"),
        ("libc6", "2.41-1+b1"),
        ("libc6-doc", "2.41-1"),
        ("Some_Wheel", "1.2"),
    ]
    hub = "localhost/skerry/hub:1"
    assert found == [("", *one) for one in own] + [(hub, *one) for one in own]


def test_a_package_knows_its_source(contents: Contents) -> None:
    """A binary rebuild has another version than its source, by which feeds speak."""
    libc = take_inventory(contents).packages[1]
    assert (libc.source, libc.source_version) == ("glibc", "2.41-1")
    assert libc.purl == "pkg:deb/debian/libc6@2.41-1%2Bb1?arch=amd64"


def test_files_of_no_package_are_listed(contents: Contents) -> None:
    """What dpkg does not know is named with its digests; what it knows is not."""
    found = {file.path: file for file in take_inventory(contents).unowned}
    assert "usr/bin/dash" not in found
    assert found["etc/own"].size_bytes == 3
    assert found["etc/own"].sha256 == hashlib.sha256(b"own").hexdigest()


def test_sizes_are_those_of_a_packages_files(contents: Contents) -> None:
    """The files that dpkg lists count, wherever /bin leads."""
    assert take_inventory(contents).packages[0].size_bytes > 1000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Format: x\n\nLicense: BSD-3-clause and GPL-2+\n\nLicense: odd one\n",
            ("BSD-3-Clause", "GPL-2.0-or-later", "LicenseRef-odd-one"),
        ),
        ("Look at /usr/share/common-licenses/GPL-2.\n", ("LicenseRef-common-licenses-GPL-2",)),
        ("All rights reserved", ()),
    ],
    ids=["machine-readable", "a text that refers to a common licence", "another text"],
)
def test_licences_are_those_of_the_copyright_file(text: str, expected: tuple[str, ...]) -> None:
    """Identifiers of SPDX where there is one; nothing is guessed."""
    assert licences_of_copyright(text) == expected


def test_a_linked_folder_has_the_licences_of_its_target(contents: Contents) -> None:
    """Packages of one source share their documentation."""
    licences = {one.name: one.licences for one in take_inventory(contents).packages}
    assert licences["libc6-doc"] == licences["libc6"] == ("LicenseRef-common-licenses-LGPL-2.1",)


def test_cyclonedx_names_everything_once(contents: Contents, subject: Subject) -> None:
    """Each component has its own reference, and the image depends on all of the top."""
    inventory = take_inventory(contents)
    document = json.loads(json.dumps(cyclonedx(subject, inventory)))
    top = [component["bom-ref"] for component in document["components"]]
    inner = [one["bom-ref"] for c in document["components"] for one in c.get("components", ())]
    assert len({*top, *inner}) == len(top) + len(inner)
    assert len(top) == len(inventory.packages) + 1 + len(inventory.unowned)
    assert document["dependencies"] == [{"ref": "image", "dependsOn": top}]
    assert document["metadata"]["component"]["hashes"][0]["content"] == subject.sha256


def test_spdx_relates_everything(contents: Contents, subject: Subject) -> None:
    """Every package and file has a relation, and every relation leads to one of them."""
    document = json.loads(json.dumps(spdx(subject, take_inventory(contents))))
    things = [one["SPDXID"] for one in (*document["packages"], *document["files"])]
    related = [one["relatedSpdxElement"] for one in document["relationships"]]
    assert sorted(things) == sorted(related)
    assert len(set(things)) == len(things)
    declared = " ".join(one["licenseDeclared"] for one in document["packages"])
    extracted = {one["licenseId"] for one in document["hasExtractedLicensingInfos"]}
    assert {word for word in declared.split() if word.startswith("LicenseRef-")} == extracted


def test_the_same_image_has_the_same_documents(contents: Contents, subject: Subject) -> None:
    """Nothing of the time or the machine is in them."""
    first, second = (take_inventory(contents) for _ in range(2))
    assert json.dumps(cyclonedx(subject, first)) == json.dumps(cyclonedx(subject, second))
    assert json.dumps(spdx(subject, first)) == json.dumps(spdx(subject, second))
