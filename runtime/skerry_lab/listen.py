"""Listening sockets of the lab, bound before its loop runs: what is taken is said at once."""

import errno
import socket
from collections.abc import Sequence

from skerry_lab.errors import AddressInUseError, LabError

LOOPBACK = ("127.0.0.1", "::1")
BACKLOG = 512


def listen(hosts: Sequence[str], port: int, option: str) -> list[socket.socket]:
    """Listen on a port of all hosts; port 0 takes one that is free on the first.

    `option` is how a person asks for another port. Raises: LabError, AddressInUseError.
    """
    sockets: list[socket.socket] = []
    try:
        for host in hosts:
            try:
                sock = _bind(host, port)
            except OSError as error:
                missing = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
                if missing and sockets and tuple(hosts) == LOOPBACK:
                    continue  # a machine without IPv6
                raise _refusal(host, port, option, error) from error
            sockets.append(sock)
            port = sock.getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        # Now and not in the loop: of two labs at once the second one learns it here.
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _refusal(host: str, port: int, option: str, error: OSError) -> LabError:
    if error.errno == errno.EADDRINUSE:
        return AddressInUseError(
            f"port {port} of {host} is taken by another program; stop it or use {option}"
        )
    if error.errno == errno.EACCES:
        return LabError(
            f"port {port} of {host} is for root only; run as root or use {option} {port + 8000}"
        )
    return LabError(f"the lab cannot listen on {host!r} port {port}: {error.strerror}")
