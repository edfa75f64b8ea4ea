"""Errors of edged.

WorkloadsError
 +- ImageError       an image that must be there is not, or is not the one it should be
 |   +- UnfitImageError  an image for another machine: it never becomes usable here
 +- NoRoomError      the disk is too full to fetch an image: free some and ask again
 +- SocketError      a module's socket cannot be made
 +- NotReadyError    the device has no identity yet: ask again later (503)
"""

from skerry.base.errors import SkerryError


class WorkloadsError(SkerryError):
    """The root of this domain."""


class ImageError(WorkloadsError):
    """An image that cannot be used; the message names it and the remedy."""


class UnfitImageError(ImageError):
    """An image for another machine."""


class NoRoomError(WorkloadsError):
    """Too little room for an image; the message has the figures."""


class SocketError(WorkloadsError):
    """A folder or socket of a module that cannot be made."""


class NotReadyError(WorkloadsError):
    """Something that the bootstrap has not reached yet."""
