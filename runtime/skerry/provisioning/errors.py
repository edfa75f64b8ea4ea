"""Errors of provisioning, split by what a caller can do.

ProvisioningError
 +- OfflineError       the server could not be asked; what the device has stays in force
 |   +- LaterError     it wants to be left alone for `wait_seconds`
 +- RefusedError       the server said no, with `status`; a person has to change something
 |   +- MissingError   what was named does not exist (404)
 |   +- ConflictError  what was to be made exists (409)
 +- AnswerError        an answer that does not follow the protocol
 +- CredentialError    the own key or certificate cannot be used
"""

from skerry.base.errors import SkerryError


class ProvisioningError(SkerryError):
    """The root of this domain."""


class OfflineError(ProvisioningError):
    """No answer, or one of a server in trouble."""


class LaterError(OfflineError):
    """A server that names the time after which it wants to be asked again."""

    def __init__(self, message: str, wait_seconds: float) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class RefusedError(ProvisioningError):
    """An answer that will not change by itself."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class MissingError(RefusedError):
    """What the request names is not there."""


class ConflictError(RefusedError):
    """What the request makes is there already."""


class AnswerError(ProvisioningError):
    """An answer of the wrong shape."""


class CredentialError(ProvisioningError):
    """The device's own key or certificate cannot be used."""
