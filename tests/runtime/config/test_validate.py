"""Our walk over schema.json and the `jsonschema` package give the same verdict."""

import copy
import datetime
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.config.validate import load_schema, validate
from skerry.config.words import nearest, show

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "config"
KEYWORDS = {
    "$schema", "$ref", "$defs", "title", "description", "default", "deprecated",
    "type", "properties", "required", "additionalProperties", "propertyNames", "minProperties",
    "items", "minItems", "enum", "const", "minimum", "maximum", "minLength", "maxLength", "pattern",
    "anyOf", "x-expected", "x-unit", "x-secret", "x-deprecated",
}  # fmt: skip
VALUES: list[Any] = [
    "", "x", "standalone", "est", "self_signed", "file:///a", "80%", "infinite", 0, 1, 90, 2**70,
    -1, True, False, 1.5, [], ["x"], [1], {}, {"secret": "x"}, {"method": "est"},
    datetime.date(2026, 1, 1),
]  # fmt: skip


@cache
def _documents() -> list[dict[str, Any]]:
    return [tomllib.loads(path.read_text()) for path in sorted(GOLDEN.glob("*/config.toml"))]


@cache
def _judge() -> jsonschema.protocols.Validator:
    def whole(_: object, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    base = jsonschema.Draft202012Validator
    # TOML tells 1.0 from 1, JSON Schema does not
    types = base.TYPE_CHECKER.redefine("integer", whole)
    kind: Any = jsonschema.validators.extend(base, type_checker=types)  # type: ignore[no-untyped-call]
    judge: jsonschema.protocols.Validator = kind(dict(load_schema()))
    return judge


def _tables(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _tables(item)
    elif isinstance(value, list):
        for item in value:
            yield from _tables(item)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """Take a good document and break it once or twice: drop, rename, replace or add a key."""
    document: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(_documents())))
    for _ in range(draw(st.integers(0, 2))):
        table = draw(st.sampled_from(list(_tables(document))))
        key = draw(st.sampled_from(sorted(table))) if table else "new"
        kind = draw(st.sampled_from(["drop", "rename", "replace", "add"]))
        value = table.get(key)
        if kind in {"drop", "rename"}:
            table.pop(key, None)
        if kind == "rename":
            table[draw(st.sampled_from([key + "s", key[1:], key.upper(), "method"]))] = value
        elif kind != "drop":
            new = copy.deepcopy(draw(st.sampled_from(VALUES)))
            table[key if kind == "replace" else "extra"] = new
    return document


@settings(max_examples=300, deadline=None)
@given(mutated())
def test_the_verdict_is_that_of_json_schema(document: dict[str, Any]) -> None:
    """A document has findings exactly when `jsonschema` refuses it."""
    assert bool(validate(document, load_schema()).findings) == (not _judge().is_valid(document))


def test_good_documents_have_no_findings() -> None:
    """Every golden configuration fits."""
    assert [validate(document, load_schema()).findings for document in _documents()] == [
        [] for _ in _documents()
    ]


def test_the_schema_is_a_schema_and_has_no_keyword_that_we_ignore() -> None:
    """schema.json is valid, and the walk knows every keyword in it."""
    schema = load_schema()
    jsonschema.Draft202012Validator.check_schema(dict(schema))
    used: set[str] = set()

    def collect(value: Any, *, names: bool) -> None:
        if isinstance(value, dict):
            used.update(() if names else value)
            for key, item in value.items():
                if key not in {"enum", "const", "default", "required"} or names:
                    collect(item, names=not names and key in {"properties", "$defs"})
        elif isinstance(value, list):
            for item in value:
                collect(item, names=False)

    collect(schema, names=False)
    assert used <= KEYWORDS


def test_deprecated_keys_warn_and_stay_accepted() -> None:
    """What upstream withdrew is accepted, and said to be without effect."""
    document = {
        "provisioning": {"source": "standalone"},
        "endpoints": {"aziot_keyd": "unix:///x"},
        "manifest_trust_bundle_cert": "file:///x",
        "listen": {"workload_uri": "a", "management_uri": "b", "min_tls_version": "tls1.2"},
        "moby_runtime": {"content_trust": {"ca_certs": {"r.example": "file:///x"}}},
    }
    report = validate(document, load_schema())
    assert report.findings == []
    assert [finding.path for finding in report.warnings] == [
        ("endpoints",),
        ("manifest_trust_bundle_cert",),
        ("listen", "min_tls_version"),
        ("moby_runtime", "content_trust"),
    ]
    assert all(f.message.startswith("deprecated: ") for f in report.warnings)


def test_clear_secrets_are_found_and_empty_ones_are_none() -> None:
    """The schema says where secrets are; an empty value is not one, a reference neither."""
    document = {
        "provisioning": {"source": "standalone"},
        "tpm": {"hierarchy_authorization": {"endorsement": "e", "owner": ""}},
        "modules": {
            "a": {"image": "x", "auth": {"username": "u", "password": "p"}},
            "b": {"image": "x", "auth": {"username": "u", "password": {"secret": "sealed:x"}}},
        },
    }
    assert validate(document, load_schema()).secrets == [
        ("tpm", "hierarchy_authorization", "endorsement"),
        ("modules", "a", "auth", "password"),
    ]


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("HOSTNAME", ["hostname", "agent"], "hostname"),
        ("restart_policy", ["restartPolicy"], "restartPolicy"),
        ("x", ["hostname"], None),
    ],
)
def test_the_nearest_known_name_is_found(name: str, known: list[str], found: str | None) -> None:
    """A name in other case or with a slip finds its like, a strange one none."""
    assert nearest(name, known) == found


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), ("a", "'a'"), ("b" * 70, f"'{'b' * 59}…'"), (1.5, "1.5")]
)
def test_values_are_shown_short(value: object, text: str) -> None:
    """A value is written as TOML would, cut to a line."""
    assert show(value) == text
