"""The operator package of Skerry: image definitions, builds, stamping, booting and validation."""

from skerry import __version__

__all__ = ["__version__"]
