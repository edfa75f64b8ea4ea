"""Errors of tpmd.

TpmError
 +- RequestError       what was sent cannot be used; sending it again does not help (400)
 +- UnauthorizedError  the caller may not use the TPM (401)
 +- ChangedError       what a secret was sealed to has changed since (409)
 +- TroubleError       the TPM cannot do it; the message says what a person can do about it (500)
     +- BusyError      it may do it when asked again (503)
"""

from skerry.base.errors import SkerryError


class TpmError(SkerryError):
    """The root of this domain."""


class RequestError(TpmError):
    """Data that this TPM cannot use."""


class UnauthorizedError(TpmError):
    """A uid that is neither root's nor identityd's."""

    def __init__(self, uid: int) -> None:
        super().__init__(f"uid {uid} may not use the TPM")


class ChangedError(TpmError):
    """The boot is not the one that a secret was sealed to; `pcrs` names what differs."""

    def __init__(self, message: str, pcrs: tuple[int, ...]) -> None:
        super().__init__(message)
        self.pcrs = pcrs


class TroubleError(TpmError):
    """No TPM, or one that does not do what it is asked."""


class BusyError(TroubleError):
    """The TPM is busy, locked or gone for the moment."""
