"""Errors of identityd.

IdentityError
 +- ParameterError      what the caller asked for is wrong or does not exist (400)
 +- UnauthorizedError   the caller has no right to this call (401)
 +- RecordError         a stored identity cannot be read (500)
"""

from skerry.base.errors import SkerryError


class IdentityError(SkerryError):
    """The root of this domain."""


class ParameterError(IdentityError):
    """A request that cannot be met as it is."""


class UnauthorizedError(IdentityError):
    """A caller without the right to a call."""

    def __init__(self, uid: int, path: str) -> None:
        super().__init__(f"uid {uid} may not call {path}")


class RecordError(IdentityError):
    """A record on disk that is not what it should be."""
