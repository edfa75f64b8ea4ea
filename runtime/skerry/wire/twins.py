"""Twin documents: how patches change them. Pure; lab, edge hub and agent share it.

A patch is a JSON object: an object in it is merged into the object of that name, null removes a
name, anything else (lists too) takes the place of what was there.
"""

from collections.abc import Mapping


def merge(document: Mapping[str, object], patch: Mapping[str, object]) -> dict[str, object]:
    """Return a document after a patch; neither is changed."""
    merged = dict(document)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            former = merged.get(name)
            merged[name] = merge(former if isinstance(former, Mapping) else {}, value)
        else:
            merged[name] = value
    return merged


def diff(old: Mapping[str, object], new: Mapping[str, object]) -> dict[str, object]:
    """Return the patch that makes `new` of `old`, empty when they are equal.

    `new` holds no null: a twin has none.
    """
    patch: dict[str, object] = {name: None for name in old if name not in new}
    for name, value in new.items():
        former = old.get(name)
        if isinstance(value, Mapping) and isinstance(former, Mapping):
            if inner := diff(former, value):
                patch[name] = inner
        elif name not in old or not _same(former, value):
            patch[name] = value
    return patch


def _same(one: object, other: object) -> bool:
    # True == 1 in Python, and 1 == 1.0 in JSON too.
    return one == other and isinstance(one, bool) == isinstance(other, bool)
