"""Errors of the lab cloud.

LabError                 something a person is told
 +- AddressInUseError    another program listens where the lab should
 +- StoreError           the database cannot be used
 +- ApiError             an answer other than success; each API gives it the body its clients expect
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime

from skerry.base.errors import SkerryError
from skerry.heads.errors import AnswerError
from skerry.heads.routes import Answer


class LabError(SkerryError):
    """A condition of the lab with a message for people."""


class AddressInUseError(LabError):
    """Another program listens at the lab's address."""


class StoreError(LabError):
    """The database of the lab cannot be opened or is of another version."""


class ApiError(LabError, AnswerError, ABC):
    """A refused request; `status` is HTTP's, `code` the API's own."""

    def __init__(
        self,
        status: int,
        code: str | int,
        message: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})

    @abstractmethod
    def answer(self, tracking_id: str, now: datetime) -> Answer:
        """Return the answer in the shape of the API."""
