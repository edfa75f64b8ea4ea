"""Names in createOptions as the engine writes them.

The engine takes a name in any case, Unicode's case folding included; one that edged does not see
would pass what it withholds (decision 0131).
"""

from collections.abc import Mapping
from typing import Any

_NAMES = {
    name.casefold(): name
    for name in (
        "Image", "Env", "Labels", "User", "HostConfig", "NetworkingConfig", "EndpointsConfig",
        "Privileged", "CapAdd", "CapDrop", "Mounts", "Binds", "NetworkMode", "Target",
    )
}  # fmt: skip


def spelled(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with the names that edged looks at in the engine's spelling.

    Raises ValueError when a name is there twice: which one would count is not for us to guess.
    """
    found: dict[str, Any] = {}
    for name, value in table.items():
        known = _NAMES.get(name.casefold(), name)
        if known in found:
            raise ValueError(f"{known!r} is there twice")
        found[known] = value
    return found


def spelled_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return createOptions and the HostConfig in them in the engine's spelling."""
    body = spelled(options)
    host = body.get("HostConfig")
    return {**body, "HostConfig": spelled(host)} if isinstance(host, dict) else body
