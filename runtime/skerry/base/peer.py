"""Who is at the other end of a unix socket, as the kernel knows it.

Nothing the caller says is used. A process id may be reused after its process ends, so a `Peer`
carries the start time of the process that connected, and `still_same` tells whether that still
holds. Between connecting and being accepted the id may change hands too: on Linux 6.5 and later the
kernel gives a descriptor of the very process that connected, and one that has ended is nobody.
"""

import errno
import os
import re
import select
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

_CONTAINER_ID = re.compile(r"(?:^|[/-])([0-9a-f]{64})(?:\.scope)?(?:/|$)")
_PROC = Path("/proc")
_SO_PEERPIDFD = 77
"""asm-generic/socket.h; Python's socket module does not name it."""


@dataclass(frozen=True)
class Peer:
    """A process that opened a connection: ids as seen from this process's namespaces.

    `start_ticks` is field 22 of /proc/PID/stat, 0 when the process had already ended.
    """

    pid: int
    uid: int
    gid: int
    start_ticks: int = 0


def peer_of(connection: socket.socket) -> Peer:
    """Ask the kernel who connected (SO_PEERCRED)."""
    credentials = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
    )
    pid, uid, gid = struct.unpack("3i", credentials)
    return Peer(pid=pid, uid=uid, gid=gid, start_ticks=_start_of_peer(connection, pid))


def _start_of_peer(connection: socket.socket, pid: int) -> int:
    """Return the start time of the process that connected; 0 once it has ended."""
    try:
        handle = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        # an older kernel has no such option; on a newer one the process is gone
        return start_ticks(pid) if error.errno == errno.ENOPROTOOPT else 0
    try:
        ticks = start_ticks(pid)
        waiter = select.poll()
        waiter.register(handle, select.POLLIN)
        # while it runs, its id is its own: what was just read is about it
        return 0 if waiter.poll(0) else ticks
    finally:
        os.close(handle)


def start_ticks(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 if there is no such process."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return 0
    # the second field is the command in parentheses and may itself hold spaces and parentheses
    return int(stat.rpartition(")")[2].split()[19])


def still_same(peer: Peer) -> bool:
    """Tell whether the process that connected still lives under its process id."""
    return peer.start_ticks != 0 and start_ticks(peer.pid) == peer.start_ticks


def container_id(peer: Peer) -> str | None:
    """Return the id of the container that a live peer runs in, None for a process of the host.

    All hierarchies of cgroup v1 and the one of v2 must agree. The process is held by a file
    descriptor while its cgroup is read, and its start time is compared afterwards, so that a reused
    process id never lends its container to somebody else.
    """
    try:
        handle = os.pidfd_open(peer.pid)
    except OSError:
        return None
    try:
        text = (_PROC / str(peer.pid) / "cgroup").read_text("utf-8", "replace")
    except OSError:
        return None
    finally:
        os.close(handle)
    return container_id_in(text) if still_same(peer) else None


def container_id_in(cgroup_text: str) -> str | None:
    """Return the one container id in /proc/PID/cgroup, None where there is none or several."""
    found: set[str] = set()
    for line in cgroup_text.splitlines():
        path = line.partition(":")[2].partition(":")[2]
        ids = _CONTAINER_ID.findall(path)
        if ids:
            found.add(ids[-1])
    return found.pop() if len(found) == 1 else None
