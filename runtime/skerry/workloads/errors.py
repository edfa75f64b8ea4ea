"""Errors of edged.

WorkloadsError
 +- ImageError       an image that must be there is not, or is not the one it should be
 +- SocketError      a module's socket cannot be made
 +- NotReadyError    the device has no identity yet: ask again later (503)
"""

from skerry.base.errors import SkerryError


class WorkloadsError(SkerryError):
    """The root of this domain."""


class ImageError(WorkloadsError):
    """An image that cannot be used; the message names it and the remedy."""


class SocketError(WorkloadsError):
    """A folder or socket of a module that cannot be made."""


class NotReadyError(WorkloadsError):
    """Something that the bootstrap has not reached yet."""
