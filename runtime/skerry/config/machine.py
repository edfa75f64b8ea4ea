"""This machine as apply sees it: its name, its users, its files."""

import pwd
from collections.abc import Callable
from pathlib import Path

from skerry.base.errors import SkerryError
from skerry.base.files import FileTooLargeError, read_limited
from skerry.config.site import Ids
from skerry.config.vault import SEED_SECRETS

_MAX_BYTES = 1024 * 1024
_USERS = {
    "keyd": "skerry-keys",
    "certd": "skerry-certs",
    "tpmd": "skerry-tpm",
    "identityd": "skerry-identity",
    "edged": "skerry-edge",
}


class MachineFiles:
    """Reads files of this machine; those of the seed where the seed lies."""

    def __init__(self, seed: Path | None = None) -> None:
        self._seed = seed

    def read(self, path: str) -> bytes:
        where = Path(path)
        if ".." in where.parts:
            raise OSError("its path has '..'")
        if self._seed is not None and path.startswith(SEED_SECRETS):
            where = self._seed / "secrets" / path.removeprefix(SEED_SECRETS)
        try:
            return read_limited(where, _MAX_BYTES)
        except FileTooLargeError as error:
            raise OSError(str(error)) from error


def service_ids(lookup: Callable[[str], pwd.struct_passwd] = pwd.getpwnam) -> Ids:
    """Look up the users of the services."""
    ids = {}
    for service, user in _USERS.items():
        try:
            ids[service] = lookup(user).pw_uid
        except KeyError as error:
            raise SkerryError(
                f"user {user!r} does not exist; install the skerry package, or give --output-dir"
            ) from error
    return Ids(**ids)
