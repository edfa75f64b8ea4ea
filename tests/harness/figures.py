"""Figures that nobody asks for."""

from skerry.heads.links import Links
from skerry.hub.figures import Figures


def unseen(links: Links | None = None) -> Figures:
    """Return figures of a hub without a store."""
    return Figures("hub", "edge", Links() if links is None else links, list, list)
