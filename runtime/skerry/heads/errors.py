"""Errors of the heads."""

from skerry.base.errors import SkerryError


class HeadError(SkerryError):
    """A condition of the heads with a message for people."""


class AnswerError(SkerryError):
    """A refused request; `status` is HTTP's, which MQTT's twins and methods speak too."""

    status: int


def status_of(error: SkerryError) -> int:
    """Return the status to answer with; 500 for what is not the client's fault."""
    return error.status if isinstance(error, AnswerError) else 500
