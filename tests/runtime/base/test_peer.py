"""Who is at the other end of a socket."""

import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

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


LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


def process_called(pid: int) -> int | None:
    """Start a process under a process id, which sleeps until it is killed; None if it was taken."""
    LAST_PID.write_text(str(pid - 1))
    child = os.fork()
    if child == 0:
        signal.pause()
    if child == pid:
        return child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def process_that_calls(address: str) -> int:
    """Have a process connect and end; return the id that it had."""
    caller = os.fork()
    if caller == 0:
        mine = socket.socket(socket.AF_UNIX)
        mine.connect(address)
        os._exit(0)
    os.waitpid(caller, 0)
    return caller


@pytest.mark.skipif(not os.access(LAST_PID, os.W_OK), reason="process ids cannot be chosen here")
def test_who_took_the_id_before_the_call_was_accepted_is_not_the_caller(tmp_path: Path) -> None:
    """A process connects and ends; another gets its id; only then the connection is accepted."""
    heir = None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        # somebody else on this machine may be quicker to get the id
        for _ in range(100):
            caller = process_that_calls(str(tmp_path / "s"))
            heir = process_called(caller)
            connection, _ = listener.accept()
            with connection:
                peer = peer_of(connection)
            if heir is not None:
                break
    assert heir is not None
    try:
        assert peer.pid == heir
        assert not still_same(peer)
        assert container_id(peer) is None
    finally:
        os.kill(heir, signal.SIGKILL)
        os.waitpid(heir, 0)
