"""Errors of certd.

CertsError
 +- ParameterError      what the caller asked for is wrong or does not exist (400)
 +- UnauthorizedError   the caller may not write this certificate (401)
 +- CertFileError       a certificate file cannot be read or holds no certificate (500)
 +- EstError            an EST server did not give a certificate (502)
     +- EstPendingError it will, later (503)
"""

from datetime import timedelta

from skerry.base.errors import SkerryError


class CertsError(SkerryError):
    """The root of this domain."""


class ParameterError(CertsError):
    """A request that cannot be met as it is."""


class UnauthorizedError(CertsError):
    """A uid that no principal allows this certificate."""

    def __init__(self, uid: int, cert_id: str) -> None:
        super().__init__(f"uid {uid} may not write certificate {cert_id!r}")


class CertFileError(CertsError):
    """A certificate on disk that is not what it should be."""


class EstError(CertsError):
    """An EST server that cannot be reached, refuses, or answers what it must not."""


class EstPendingError(EstError):
    """An EST server that has the request and wants to be asked again after a while."""

    def __init__(self, server: str, wait: timedelta) -> None:
        super().__init__(
            f"EST server {server} has not decided yet; it asks to be asked again in "
            f"{wait.total_seconds():.0f} s"
        )
        self.wait = wait
