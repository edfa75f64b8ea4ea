"""Errors of a module of ours in its container.

ModuleError
 +- WorkloadError   edged answered in a way that cannot be used
 +- SurroundingsError    the container's environment cannot be used
"""

from skerry.base.errors import SkerryError


class ModuleError(SkerryError):
    """The root of this domain."""


class WorkloadError(ModuleError):
    """An answer of the workload API that cannot be used."""


class SurroundingsError(ModuleError):
    """An environment variable that is missing or cannot be used; the text names it."""
