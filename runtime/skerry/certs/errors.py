"""Errors of certd.

CertsError
 +- ParameterError      what the caller asked for is wrong or does not exist (400)
 +- UnauthorizedError   the caller may not write this certificate (401)
 +- CertFileError       a certificate file cannot be read or holds no certificate (500)
"""

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
