"""Another system's configuration as ours: what has a counterpart is kept, all else is named.

Azure IoT Edge's config.toml has our shape, so only keys that mean nothing here are dropped; its old
YAML is translated first (`skerry.config.legacy`). Comments do not survive, secrets stay in the
clear until apply seals them: the file is for root alone.
"""

import tomllib
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from skerry.base.errors import SkerryError
from skerry.config import emit
from skerry.config.build import OWN_IMAGES
from skerry.config.document import read
from skerry.config.problems import KeyPath, Problem, key_text
from skerry.config.references import value_at
from skerry.config.support import refused
from skerry.config.validate import load_schema, validate

_UPSTREAM_AGENT = "azureiotedge-agent"
_ROUNDS = 10
"""A dropped key may uncover a table that is now empty, and so on up."""


class NotImportableError(SkerryError):
    """The other configuration cannot be read, or has no counterpart as a whole."""


@dataclass(frozen=True)
class Notice:
    """Something that the new configuration does not say as the old one did."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


@dataclass(frozen=True)
class Imported:
    """The text of our config.toml, what was left out of it, and what is wrong with it."""

    text: str
    notices: tuple[Notice, ...]
    problems: tuple[Problem, ...]


def import_toml(data: bytes, version: str) -> Imported:
    """Turn `/etc/aziot/config.toml` into ours; `version` is that of our agent's image."""
    try:
        tables = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise NotImportableError(f"the file is not TOML: {error}") from error
    return finish(tables, (), version)


def finish(tables: dict[str, Any], notices: Sequence[Notice], version: str) -> Imported:
    """Drop what has no counterpart and write the rest."""
    kept = deepcopy(tables)
    found = [*notices, *_replace_agent(kept, version), *_drop_unknown(kept)]
    text = "# Written by `skerry config import`.\n\n" + emit.dump(kept)
    problems = read(text.encode(), "imported").problems
    return Imported(text, tuple(found), problems)


def _replace_agent(tables: dict[str, Any], version: str) -> list[Notice]:
    """Put our agent in the place of upstream's; the login at its registry goes with it."""
    image = value_at(tables, ("agent", "config", "image"))
    if not isinstance(image, str) or _UPSTREAM_AGENT not in image:
        return []
    ours = f"{OWN_IMAGES}agent:{version}"
    config = {"image": ours}
    options = tables["agent"]["config"].get("createOptions")
    if options:
        config["createOptions"] = options
    tables["agent"]["config"] = config
    tables["agent"].pop("imagePullPolicy", None)
    return [Notice("agent.config.image", f"{image!r} is replaced by Skerry's own agent, {ours!r}")]


def _drop_unknown(tables: dict[str, Any]) -> list[Notice]:
    notices = []
    schema = load_schema()
    for _ in range(_ROUNDS):
        unknown = [
            (finding.path, "has no counterpart and is left out")
            for finding in validate(tables, schema).findings
            if finding.message.startswith("unknown ")
        ]
        gaps = [
            (finding.path, f"left out: {finding.message}")
            for finding in refused(tables)
            if finding.path[-1:] != ("secret",)
        ]
        dropped = unknown + gaps
        if not dropped:
            break
        for path, message in sorted(dropped, key=lambda drop: len(drop[0]), reverse=True):
            if _remove(tables, path):
                notices.append(Notice(key_text(path), message))
    return notices


def _remove(tables: Any, path: KeyPath) -> bool:
    """Take a key out, and tables that are empty without it; False where it is gone already."""
    parents = [tables]
    for part in path[:-1]:
        try:
            parents.append(parents[-1][part])
        except (KeyError, IndexError, TypeError):
            return False
    for parent, part in zip(reversed(parents), reversed(path), strict=True):
        try:
            del parent[part]
        except (KeyError, IndexError, TypeError):
            return False
        if parent or parent is tables:
            return True
    return True
