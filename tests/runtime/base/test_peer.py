"""Who is at the other end of a socket."""

import os
import socket
from dataclasses import replace

import pytest

from skerry.base.peer import container_id, container_id_in, peer_of, start_ticks, still_same

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(f"0::/system.slice/docker-{ID}.scope\n", ID, id="v2 with systemd"),
        pytest.param(f"0::/docker/{ID}\n", ID, id="v2 with cgroupfs"),
        pytest.param(f"3:cpu:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/\n", ID, id="v1"),
        pytest.param(f"0::/docker/{OTHER}/docker/{ID}\n", ID, id="nested: the innermost"),
        pytest.param(f"2:cpu:/docker/{ID}\n1:pids:/docker/{OTHER}\n", None, id="disagreement"),
        pytest.param("0::/system.slice/skerry-edged.service\n", None, id="host process"),
        pytest.param(f"0::/user.slice/x{ID}\n", None, id="id that is part of a longer word"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_container_id_in(text: str, expected: str | None) -> None:
    """The container is named only when every hierarchy that names one agrees."""
    assert container_id_in(text) == expected


def test_peer_of_tells_the_kernels_view() -> None:
    """Both ends of a pair are this very process."""
    left, right = socket.socketpair()
    with left, right:
        peer = peer_of(left)
    assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.getuid(), os.getgid())
    assert peer.start_ticks == start_ticks(os.getpid()) > 0
    assert still_same(peer)


def test_reused_process_id_is_not_the_same_peer() -> None:
    """A process that started at another moment is somebody else, with no container."""
    left, right = socket.socketpair()
    with left, right:
        peer = replace(peer_of(left), start_ticks=1)
    assert not still_same(peer)
    assert container_id(peer) is None


def test_ended_process_is_nobody() -> None:
    """A process id without a process has no start time and no container."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    left, right = socket.socketpair()
    with left, right:
        peer = replace(peer_of(left), pid=child, start_ticks=5)
    assert start_ticks(child) == 0
    assert container_id(peer) is None
