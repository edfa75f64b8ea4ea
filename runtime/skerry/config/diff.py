"""What would change, as a unified diff in which no secret can be read."""

import difflib
import json
from collections.abc import Iterable, Mapping

from skerry.config import emit

_SHOWN = ("config.toml", "deployment.json")
_MASK = "***"


def diff(old: Mapping[str, bytes], new: Mapping[str, bytes], secrets: Iterable[str]) -> str:
    """Compare the files of two generations; every form of a secret is replaced by three stars."""
    forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
    names = sorted(name for name in {*old, *new} if name.endswith(".toml") or name in _SHOWN)
    parts: list[str] = []
    for name in names:
        before = _masked(old.get(name, b""), forms).splitlines(keepends=True)
        after = _masked(new.get(name, b""), forms).splitlines(keepends=True)
        parts += difflib.unified_diff(before, after, f"old/{name}", f"new/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in parts)


def _forms(secret: str) -> set[str]:
    """Return how a secret may be written in TOML and in JSON."""
    forms = {secret, emit.dump_value(secret)[1:-1], json.dumps(secret)[1:-1]}
    return {form for form in forms if form}


def _masked(data: bytes, forms: Iterable[str]) -> str:
    text = data.decode("utf-8")
    for form in forms:
        text = text.replace(form, _MASK)
    return text
