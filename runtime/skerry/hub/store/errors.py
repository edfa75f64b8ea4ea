"""Errors of the hub's store.

StoreError           the store cannot be opened, or cannot do what was asked; says which
 +- StoreBusyError   another process has it open
"""

from skerry.hub.errors import HubError


class StoreError(HubError):
    """The store cannot be used, or cannot do what was asked."""


class StoreBusyError(StoreError):
    """Another process has the store open: the hub."""
