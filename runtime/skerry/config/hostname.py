"""A host name does not change under modules: they would go on saying the old one.

Azure IoT Edge refuses so too: identities, certificates and the environment of the containers hold
the name, and nobody makes a container anew because its device is called otherwise.
"""

import tomllib
from collections.abc import Callable, Mapping

from skerry.config.plan import PlannedFile
from skerry.config.problems import Finding

Containers = Callable[[str], list[str]]
"""Gives the names of the module containers behind an engine URI; raises SkerryError."""


def no_containers(_engine_uri: str) -> list[str]:
    """Stand for a device on which no engine can run yet."""
    return []


def hostname_finding(
    old: Mapping[str, bytes], new: Mapping[str, PlannedFile], containers: Containers
) -> Finding | None:
    """Return why the plan cannot follow the files in force, None where it can.

    Files are those of a generation, by name; without former ones there is nothing to keep.
    """
    if "identityd.toml" not in old:
        return None
    before = tomllib.loads(old["identityd.toml"].decode()).get("hostname")
    after = tomllib.loads(new["identityd.toml"].data.decode())["hostname"]
    if before is None or before == after:
        return None
    engine_uri = tomllib.loads(new["edged.toml"].data.decode())["moby_runtime"]["uri"]
    names = containers(engine_uri)
    if not names:
        return None
    message = (
        f"the host name changes from {before!r} to {after!r} while modules exist that were made "
        f"under the old one: {', '.join(sorted(names))}; remove them with "
        "`skerry system stop --remove` and apply again"
    )
    return Finding(("hostname",), message, repr(before))
