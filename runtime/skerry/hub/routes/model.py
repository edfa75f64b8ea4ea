"""Messages as routes see them, and what a condition is compiled to."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from skerry.hub.routes.body import read_body
from skerry.hub.routes.values import Kind, Value

_CAMEL = re.compile(r"(?<!^)([A-Z])")


def system_name(name: str) -> str:
    """Return the long name of a system property: `contentType` is `content-type`."""
    return _CAMEL.sub(r"-\1", name).lower()


@dataclass
class Message:
    """A message on its way: where it comes from, what it carries.

    `system` has the long names of `skerry.wire.topics`, such as `content-type`; the body
    of a twin change is the reported patch. It is parsed when the first route asks.
    """

    source: str
    properties: Mapping[str, str] = field(default_factory=dict)
    system: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @cached_property
    def document(self) -> Mapping[str, object] | None:
        """The body as a JSON object, None when there is none that may be asked."""
        kind, encoding = (
            self.system.get("content-type", ""),
            self.system.get("content-encoding", ""),
        )
        return read_body(self.body, kind, encoding)

    @property
    def is_read(self) -> bool:
        """Whether a condition has asked for the body."""
        return "document" in self.__dict__

    @cached_property
    def place(self) -> str:
        """The source as sources of routes are compared with it."""
        return self.source.strip().rstrip("/").lower() + "/"


@dataclass(frozen=True)
class Compiled:
    """An expression: its place in the route, its kind, how to evaluate it, and its parts."""

    start: int
    end: int
    kind: Kind
    run: Callable[[Message], Value]
    parts: Sequence["Compiled"] = ()
