"""Both SBOMs hold against the published rules, by the reference libraries of their makers."""

import json
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from skerry_factory.contents.model import Contents
from skerry_factory.evidence.cyclonedx import cyclonedx
from skerry_factory.evidence.inventory import take_inventory
from skerry_factory.evidence.spdx import spdx
from skerry_factory.evidence.subject import Subject


def test_cyclonedx_follows_its_schema(contents: Contents, subject: Subject) -> None:
    """The strict schema of version 1.6 finds nothing."""
    document = json.dumps(cyclonedx(subject, take_inventory(contents)))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document) is None


def test_spdx_follows_its_rules(contents: Contents, subject: Subject, tmp_path: Path) -> None:
    """The validator of version 2.3 finds nothing, licence expressions included."""
    file = tmp_path / "sbom.spdx.json"
    file.write_text(json.dumps(spdx(subject, take_inventory(contents))))
    messages = validate_full_spdx_document(parse_file(str(file)))
    assert [one.validation_message for one in messages] == []
