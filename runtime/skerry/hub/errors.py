"""Errors of the edge hub.

HubError
 +- RouteError     a route that cannot be used; `problems` say what is wrong where
 +- DesiredError   desired properties that cannot be used; `problems` say why
 +- ScopeError     what the cloud says of the device's scope cannot be used
 +- AccessError    a client that is not admitted; `status` is HTTP's
 +- OfflineError   the cloud cannot be reached now
"""

from collections.abc import Sequence
from dataclasses import dataclass

from skerry.base.errors import SkerryError
from skerry.heads.errors import AnswerError


class HubError(SkerryError):
    """The root of this domain."""


@dataclass(frozen=True)
class Problem:
    """A mistake in a route; `start` and `end` count characters from 0, `end` is not part of it."""

    message: str
    start: int
    end: int

    def to_json(self) -> dict[str, object]:
        """Return the shape in which upstream tells it."""
        location = {"start": self.start, "end": self.end}
        return {"message": self.message, "location": location, "severity": "error"}


class RouteError(HubError):
    """A route that cannot be used."""

    def __init__(self, text: str, problems: Sequence[Problem]) -> None:
        self.text = text
        self.problems = tuple(problems)
        super().__init__("; ".join(f"column {p.start + 1}: {p.message}" for p in problems))


class DesiredError(HubError):
    """Desired properties that cannot be used, for all these reasons."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))


class ScopeError(HubError):
    """What the cloud says of the device's scope cannot be used."""


class AccessError(HubError, AnswerError):
    """A client that is not admitted, or an answer for it; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class OfflineError(HubError):
    """The cloud cannot be reached, or went away before it answered."""
