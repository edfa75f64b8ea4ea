"""Errors of keyd.

KeysError
 +- ParameterError      what the caller asked for is wrong or does not exist (400)
 +- UnauthorizedError   the caller may not use this key (401)
 +- KeyFileError        a key file cannot be read, written, or used; the log names it (500)
 +- TokenError          the PKCS#11 token cannot be used; the log says why (500)
"""

from skerry.base.errors import SkerryError


class KeysError(SkerryError):
    """The root of this domain."""


class ParameterError(KeysError):
    """A request that cannot be met as it is."""


class UnauthorizedError(KeysError):
    """A uid that no principal allows this key."""

    def __init__(self, uid: int, key_id: str) -> None:
        super().__init__(f"uid {uid} may not use key {key_id!r}")


class KeyFileError(KeysError):
    """A key on disk that is not what it should be."""


class TokenError(KeysError):
    """A PKCS#11 token, or a key in it, that cannot be used."""
