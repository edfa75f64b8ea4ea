"""Errors of the container engine.

EngineError                  the engine refused or failed a call; `status` is its HTTP status
 +- NotFoundError            no such container, image or network (404)
 +- ConflictError            the name is taken, or the state does not allow it (409)
 +- ImageError               an image could not be pulled or loaded
 +- EngineUnreachableError   nobody answers on the engine's socket; asking again may help (503)
"""

from skerry.base.errors import SkerryError


class EngineError(SkerryError):
    """The engine refused a call, with its own words."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


class NotFoundError(EngineError):
    """What was named does not exist."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 404)


class ConflictError(EngineError):
    """The call does not fit the state of what exists."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 409)


class ImageError(EngineError):
    """An image did not arrive."""


class EngineUnreachableError(EngineError):
    """The engine does not answer."""

    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(
            f"the container engine does not answer on {uri} ({reason}); "
            "try: systemctl start docker",
            503,
        )
