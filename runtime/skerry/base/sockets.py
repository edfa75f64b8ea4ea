"""Listening sockets: handed over by systemd (LISTEN_FDS) or bound by ourselves."""

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from skerry.base.errors import SettingsError

_FIRST_DESCRIPTOR = 3
_BACKLOG = 128


def activated(environment: Mapping[str, str] = os.environ) -> dict[str, socket.socket]:
    """Return the sockets that systemd passed, by FileDescriptorName; empty when it passed none."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return {}
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    count = int(environment.get("LISTEN_FDS", "0"))
    descriptors = range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + count)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return {
        name: socket.socket(fileno=descriptor)
        for name, descriptor in zip(names, descriptors, strict=True)
    }


def bind_unix(
    path: Path, *, mode: int, uid: int | None = None, gid: int | None = None
) -> socket.socket:
    """Listen on a fresh unix socket at `path`.

    The socket is made under a temporary name, given owner and mode, and renamed: nobody can connect
    to it with other rights, and a stale socket of a former process is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(temporary))
        if uid is not None or gid is not None:
            os.chown(temporary, -1 if uid is None else uid, -1 if gid is None else gid)
        temporary.chmod(mode)
        listener.listen(_BACKLOG)
        temporary.replace(path)
    except BaseException:
        listener.close()
        temporary.unlink(missing_ok=True)
        raise
    return listener


def open_listeners(
    names: Sequence[str], overrides: Mapping[str, str], environment: Mapping[str, str] = os.environ
) -> dict[str, socket.socket]:
    """Return one listening socket per name: from `--socket NAME=PATH`, else from systemd."""
    unknown = sorted(set(overrides) - set(names))
    if unknown:
        raise SettingsError(
            f"--socket {unknown[0]!r} is not a socket of this service; expected {', '.join(names)}"
        )
    passed = activated(environment)
    sockets: dict[str, socket.socket] = {}
    for name in names:
        if name in overrides:
            sockets[name] = bind_unix(Path(overrides[name]), mode=0o660)
        elif name in passed:
            sockets[name] = passed[name]
        else:
            raise SettingsError(
                f"no socket {name!r}: systemd passed {sorted(passed) or 'none'}; "
                f"start the socket unit or give --socket {name}=PATH"
            )
    return sockets
