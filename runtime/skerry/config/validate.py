"""Walks schema.json over a document and finds all that does not fit, in words for people.

The verdict agrees with JSON Schema (a test compares it with the `jsonschema` package); what is
ours is the choice of words. Of several alternatives (`anyOf`) that all fail, the one whose tag
(`source`, `method`) or keys come nearest is reported, so that one mistake gives one finding.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

from skerry.config.problems import Finding, KeyPath
from skerry.config.words import (
    TYPES,
    Schema,
    expectation,
    fits,
    missing_key,
    not_one_of,
    one_of,
    show,
    type_words,
    unknown_key,
    wrong_choice,
    wrong_scalar,
)


@dataclass
class Report:
    """What one walk found: findings, warnings (deprecated keys) and the paths of clear secrets."""

    findings: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    secrets: list[KeyPath] = field(default_factory=list)

    def take(self, other: "Report") -> None:
        self.findings += other.findings
        self.warnings += other.warnings
        self.secrets += other.secrets


def load_schema() -> Schema:
    """Read the schema of config.toml."""
    text = resources.files("skerry.config").joinpath("schema.json").read_text("utf-8")
    schema: Schema = json.loads(text)
    return schema


def validate(document: object, schema: Schema) -> Report:
    """Check a document against a schema; an empty list of findings means it fits."""
    return _Walk(schema).check(document, schema, ())


class _Walk:
    def __init__(self, root: Schema) -> None:
        self._root = root

    def check(self, value: object, schema: Schema, path: KeyPath) -> Report:
        schema = self._resolved(schema)
        report = Report()
        if "x-deprecated" in schema:
            message = f"deprecated: {schema['x-deprecated']}"
            report.warnings.append(Finding(path, message, on_key=True))
        if "anyOf" in schema:
            report.take(self._alternatives(value, schema["anyOf"], path))
        elif "const" in schema or "enum" in schema:
            report.findings += wrong_choice(value, schema, path)
        elif not _is_type(value, schema):
            report.findings.append(self._wrong_type(value, [schema], path))
        elif isinstance(value, dict):
            report.take(self._table(value, schema, path))
        elif isinstance(value, list):
            report.take(self._array(value, schema, path))
        else:
            report.findings += wrong_scalar(value, schema, path)
            if schema.get("x-secret") and value:
                report.secrets.append(path)
        return report

    def _resolved(self, schema: Schema) -> Schema:
        if "$ref" not in schema:
            return schema
        target = self._root["$defs"][schema["$ref"].rpartition("/")[2]]
        return {**self._resolved(target), **{k: v for k, v in schema.items() if k != "$ref"}}

    def _table(self, value: dict[str, object], schema: Schema, path: KeyPath) -> Report:
        report = Report()
        known: Mapping[str, Schema] = schema.get("properties", {})
        rest = schema.get("additionalProperties", {})
        for key, item in value.items():
            below = (*path, key)
            if key in known:
                report.take(self.check(item, known[key], below))
            elif rest is False:
                report.findings.append(unknown_key(below, item, known))
            else:
                report.findings += self._name(key, schema, below)
                report.take(self.check(item, rest, below))
        meant = {finding.suggestion for finding in report.findings if finding.path[:-1] == path}
        for key in schema.get("required", ()):
            if key not in value and key not in meant:
                report.findings.append(missing_key((*path, key), self._expected(known[key])))
        if len(value) < schema.get("minProperties", 0):
            report.findings.append(Finding(path, "the table is empty", "at least one key"))
        return report

    @staticmethod
    def _name(key: str, schema: Schema, path: KeyPath) -> list[Finding]:
        rule = schema.get("propertyNames")
        if rule is None or fits(rule["pattern"], key):
            return []
        return [Finding(path, f"{key!r} cannot be a name", rule["x-expected"], on_key=True)]

    def _array(self, value: list[object], schema: Schema, path: KeyPath) -> Report:
        report = Report()
        for index, item in enumerate(value):
            report.take(self.check(item, schema.get("items", {}), (*path, index)))
        if len(value) < schema.get("minItems", 0):
            report.findings.append(Finding(path, "the array is empty", "at least one element"))
        return report

    def _alternatives(self, value: object, schemas: Sequence[Schema], path: KeyPath) -> Report:
        branches = self._flat(schemas)
        reports = [self.check(value, branch, path) for branch in branches]
        for report in reports:
            if not report.findings:
                return report
        fitting = [branch for branch in branches if _is_type(value, branch)]
        if not fitting:
            return Report([self._wrong_type(value, branches, path)])
        if not isinstance(value, dict):
            return self.check(value, fitting[0], path)
        return self._nearest_table(value, fitting, path)

    def _flat(self, schemas: Sequence[Schema]) -> list[Schema]:
        """Resolve references and open nested alternatives."""
        branches: list[Schema] = []
        for schema in map(self._resolved, schemas):
            branches += self._flat(schema["anyOf"]) if "anyOf" in schema else [schema]
        return branches

    def _nearest_table(
        self, value: dict[str, object], branches: list[Schema], path: KeyPath
    ) -> Report:
        tag, choices = _tag_of(branches)
        if tag is not None and tag in value:
            return self._tagged(value, branches, path, tag, choices)
        if tag is not None and not _untagged_fits(value, branches, tag):
            return Report([missing_key((*path, tag), one_of(choices))])
        return self._likeliest(value, branches, path)

    def _likeliest(self, value: dict[str, object], branches: list[Schema], path: KeyPath) -> Report:
        return self.check(value, min(branches, key=lambda b: self._distance(value, b)), path)

    def _distance(self, value: dict[str, object], branch: Schema) -> int:
        """Tell how far a table is from an alternative; a value of another type weighs most."""
        known = branch["properties"]
        wrong_keys = {*branch.get("required", ()), *value} - ({*value} & {*known})
        wrong_types = [
            key for key in value if key in known and not self._is_any_type(value[key], known[key])
        ]
        return 2 * len(wrong_keys) + 3 * len(wrong_types)

    def _is_any_type(self, value: object, schema: Schema) -> bool:
        return any(_is_type(value, branch) for branch in self._flat([schema]))

    def _tagged(
        self,
        value: dict[str, object],
        branches: list[Schema],
        path: KeyPath,
        tag: str,
        choices: list[object],
    ) -> Report:
        """Report on the alternatives with the tag of the value, or with the one it likely meant."""
        if value[tag] in choices:
            same = [branch for branch in branches if _choice(branch, tag) == value[tag]]
            return self._likeliest(value, same, path)
        wrong = not_one_of(value[tag], choices, (*path, tag))
        if wrong.suggestion is None:
            return Report([wrong])
        meant = self._nearest_table({**value, tag: wrong.suggestion}, branches, path)
        return Report([wrong, *meant.findings], meant.warnings, meant.secrets)

    def _wrong_type(self, value: object, schemas: Sequence[Schema], path: KeyPath) -> Finding:
        words = (words for words, types in TYPES.values() if type(value) in types)
        kind = next(words, "a date or time")
        expected = expectation(schemas[0]) if len(schemas) == 1 else type_words(schemas)
        hidden = any(self._holds_secret(schema) for schema in schemas)
        if hidden or isinstance(value, dict | list):
            return Finding(path, f"{kind}, which is the wrong type", expected)
        return Finding(path, f"{show(value)} is {kind}", expected)

    def _holds_secret(self, schema: Schema) -> bool:
        """Tell whether a value for this schema, even in the wrong place, may be a secret."""
        schema = self._resolved(schema)
        below = [*schema.get("anyOf", ()), *schema.get("properties", {}).values()]
        return bool(schema.get("x-secret")) or any(map(self._holds_secret, below))

    def _expected(self, schema: Schema) -> str | None:
        schema = self._resolved(schema)
        if "anyOf" in schema and "x-expected" not in schema:
            return type_words(self._flat(schema["anyOf"]))
        return expectation(schema)


def _is_type(value: object, schema: Schema) -> bool:
    names = schema.get("type")
    if names is None:
        return True
    for name in [names] if isinstance(names, str) else names:
        if isinstance(value, TYPES[name][1]) and (name == "boolean" or not isinstance(value, bool)):
            return True
    return False


def _tag_of(branches: Sequence[Schema]) -> tuple[str | None, list[object]]:
    """Return the key whose constant tells the alternatives apart, and its values."""
    for key in ("source", "method", "type"):
        choices = [_choice(branch, key) for branch in branches]
        if any(choice is not None for choice in choices):
            return key, [choice for choice in choices if choice is not None]
    return None, []


def _choice(branch: Schema, key: str) -> object:
    return branch["properties"].get(key, {}).get("const")


def _untagged_fits(value: dict[str, object], branches: Sequence[Schema], tag: str) -> bool:
    """Tell whether an alternative without a tag has one of the required keys of the value."""
    untagged = [branch for branch in branches if _choice(branch, tag) is None]
    return any(key in value for branch in untagged for key in branch.get("required", ()))
