"""edged, as the verbs about modules ask it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skerry.base.client import UnreachableError
from skerry.base.errors import SkerryError
from skerry.workloads.client import ManagementClient

_SOCKET = "unix:///run/skerry/mgmt.sock"


def management_socket() -> Path:
    """Return the socket of the management API."""
    uri = os.environ.get("SKERRY_HOST", _SOCKET)
    if not uri.startswith("unix:///"):
        raise SkerryError(f"SKERRY_HOST is {uri!r}, expected unix:///path/of/the/socket")
    return Path(uri.removeprefix("unix://"))


@contextmanager
def edged() -> Iterator[ManagementClient]:
    """Give the management API; SKERRY_HOST (`unix:///path`) names another socket.

    An edged that does not answer becomes an error that says what to do.
    """
    try:
        yield ManagementClient(management_socket())
    except UnreachableError as error:
        if "Permission denied" in str(error):
            remedy = "run it with sudo, or join the group skerry-edge"
        else:
            remedy = "see: systemctl status skerry-edged, journalctl -u skerry-edged"
        raise SkerryError(f"{error}; {remedy}") from error
