"""The schema of image.toml as a source of defaults and of documentation.

`default` of a key is what holds when it is not given; `description` says what it is for. Both are
read from here alone: by the loader, by `show` and by `explain`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skerry.config.words import nearest
from skerry_factory.errors import FactoryError
from skerry_factory.paths import package_data

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Key:
    """One key of image.toml; `path` has `[]` after an array of tables: `system.users[].name`."""

    path: str
    kind: str
    description: str
    required: bool
    default: object
    expected: str

    def as_json(self) -> dict[str, object]:
        return dict(vars(self))


def load_schema() -> Schema:
    """Return the schema of image.toml."""
    schema: Schema = json.loads(package_data("image.schema.json").read_text("utf-8"))
    return schema


def filled(value: Any, schema: Schema, root: Schema | None = None) -> Any:
    """Return a valid value with every default of its schema in its place."""
    root = root or schema
    schema = _resolved(schema, root)
    if isinstance(value, list) and "items" in schema:
        return [filled(item, schema["items"], root) for item in value]
    if not isinstance(value, dict):
        return value
    result = dict(value)
    for name, part in schema.get("properties", {}).items():
        part = _resolved(part, root)
        if name in value:
            result[name] = filled(value[name], part, root)
        elif "default" in part:
            result[name] = filled(part["default"], part, root)
        elif "properties" in part and not part.get("required"):
            result[name] = filled({}, part, root)
    return result


def keys(schema: Schema) -> list[Key]:
    """Return every key of the schema that has a value of its own, in the order of the schema."""
    return list(_keys(schema, schema, ""))


def find_keys(schema: Schema, wanted: str) -> list[Key]:
    """Return the key of a path, or all keys of a table; raises FactoryError for an unknown one."""
    found = [key for key in keys(schema) if _is_below(key.path, wanted)]
    if found:
        return found
    known = [key.path for key in keys(schema)]
    near = nearest(wanted, known) or next((path for path in known if path.endswith(wanted)), None)
    hint = f"did you mean {near!r}?" if near else "`skerry-factory explain` lists all"
    raise FactoryError(f"image.toml has no key {wanted!r}; {hint}")


def _is_below(path: str, wanted: str) -> bool:
    return path == wanted or path.startswith((f"{wanted}.", f"{wanted}[].")) or not wanted


def _keys(schema: Schema, root: Schema, path: str) -> Iterator[Key]:
    required: Sequence[str] = schema.get("required", ())
    for name, part in schema.get("properties", {}).items():
        part = _resolved(part, root)
        own = f"{path}.{name}" if path else name
        items = _resolved(part.get("items", {}), root)
        if "properties" in items:
            yield from _keys(items, root, f"{own}[]")
        elif "properties" in part:
            yield from _keys(part, root, own)
        else:
            yield Key(
                path=own,
                kind=_kind(part, items),
                description=part.get("description", ""),
                required=name in required,
                default=part.get("default"),
                expected=part.get("x-expected", items.get("x-expected", "")),
            )


def _kind(part: Schema, items: Schema) -> str:
    if "enum" in part:
        return "one of " + ", ".join(json.dumps(value) for value in part["enum"])
    if part.get("type") == "array":
        inner = _kind(items, {})
        return f"array of {inner}" + ("" if inner.startswith("one of") else "s")
    return {"object": "table"}.get(part["type"], str(part["type"]))


def _resolved(part: Schema, root: Schema) -> Schema:
    if "$ref" not in part:
        return part
    name = part["$ref"].removeprefix("#/$defs/")
    return {**root["$defs"][name], **{key: part[key] for key in part if key != "$ref"}}
