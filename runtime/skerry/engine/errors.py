"""Errors of the container engine.

EngineError                     the engine refused a call; `status` is its HTTP status
 +- EngineNotFoundError         no such container, image or network (404)
 +- EngineConflictError         the name is taken, or the state forbids the call (409)
 +- EngineUnreachableError      the engine does not answer: ask again later (503)
 +- PullError                   an image could not be fetched
 +- LoadError                   an image archive could not be loaded
"""

from skerry.base.errors import SkerryError


class EngineError(SkerryError):
    """The engine refused a call; a message for people, its HTTP status for callers."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class EngineNotFoundError(EngineError):
    """What was named does not exist."""

    def __init__(self, message: str) -> None:
        super().__init__(404, message)


class EngineConflictError(EngineError):
    """What was asked for is in the way of what is there."""

    def __init__(self, message: str) -> None:
        super().__init__(409, message)


class EngineUnreachableError(EngineError):
    """Nobody answers at the engine's address, or not in time."""

    def __init__(self, message: str) -> None:
        super().__init__(503, message)


class PullError(EngineError):
    """An image could not be fetched from its registry."""

    def __init__(self, image: str, reason: str) -> None:
        super().__init__(
            500,
            f"image {image!r} could not be pulled: {reason}; "
            "check its name, the registry's credentials and the network",
        )


class LoadError(EngineError):
    """An archive is not an image, or not the one it should be."""

    def __init__(self, message: str) -> None:
        super().__init__(500, message)
