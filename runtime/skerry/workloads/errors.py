"""Errors of edged.

WorkloadsError
 +- ImageError       an image that must be there is not, or is not the one it should be
 |   +- UnfitImageError  an image for another machine: it never becomes usable here
 |   +- UntrustedImageError  an image without the signature that it needs
 +- NoRoomError      the disk is too full to fetch an image: free some and ask again
 +- PortError        a port that somebody else holds
 +- SecretError      a secret of a module that is not to be had: give it, or mend its sealer
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


class UntrustedImageError(ImageError):
    """An image that no trusted key has signed."""


class NoRoomError(WorkloadsError):
    """Too little room for an image; the message has the figures."""


class PortError(WorkloadsError):
    """A port of the machine that another process holds."""


class SecretError(WorkloadsError):
    """A secret that has no value here, or one that cannot be read."""


class SocketError(WorkloadsError):
    """A folder or socket of a module that cannot be made."""


class NotReadyError(WorkloadsError):
    """Something that the bootstrap has not reached yet."""
