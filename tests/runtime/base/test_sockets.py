"""Listening sockets from systemd or by path."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from skerry.base.errors import SettingsError
from skerry.base.sockets import activated, bind_unix, open_listeners


def test_bind_unix_replaces_a_stale_socket(tmp_path: Path) -> None:
    """A socket file that nobody serves any more does not stop a new process."""
    path = tmp_path / "run" / "x.sock"
    bind_unix(path, mode=0o660).close()
    with bind_unix(path, mode=0o666), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert path.stat().st_mode & 0o777 == 0o666
    assert [entry.name for entry in path.parent.iterdir()] == ["x.sock"]


def test_bind_unix_leaves_nothing_after_a_failure(tmp_path: Path) -> None:
    """A folder at the socket's path is an error and is left as it was."""
    (tmp_path / "x.sock").mkdir()
    with pytest.raises(OSError, match="directory"):
        bind_unix(tmp_path / "x.sock", mode=0o660)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.sock"]


def test_activation_hands_over_sockets_by_name(tmp_path: Path) -> None:
    """A process started as systemd would start it finds its sockets under their names."""
    script = (
        "import os\n"
        "from skerry.base.sockets import activated\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "found = activated()\n"
        "print({n: s.getsockname() for n, s in found.items()}, os.get_inheritable(3))\n"
    )
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        for sock, name in ((one, "mgmt"), (two, "workload")):
            sock.bind(str(tmp_path / name))
            sock.listen()

        def place() -> None:
            os.dup2(one.fileno(), 30)
            os.dup2(two.fileno(), 31)
            os.dup2(30, 3)
            os.dup2(31, 4)

        output = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "mgmt:workload"},
            pass_fds=(3, 4),
            preexec_fn=place,
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout
    expected = {name: str(tmp_path / name) for name in ("mgmt", "workload")}
    assert output.strip() == f"{expected} False"


def test_sockets_for_another_process_are_not_ours() -> None:
    """LISTEN_PID of somebody else means that nothing was passed to us."""
    assert activated({"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "keyd"}) == {}


def test_missing_socket_says_what_to_do() -> None:
    """Without systemd and without --socket the message names both ways."""
    with pytest.raises(SettingsError, match=r"no socket 'keyd'.*--socket keyd=PATH"):
        open_listeners(["keyd"], {}, {})


def test_unknown_socket_name_is_refused(tmp_path: Path) -> None:
    """A misspelt --socket is an error, not ignored."""
    with pytest.raises(
        SettingsError, match="'kyed' is not a socket of this service; expected keyd"
    ):
        open_listeners(["keyd"], {"kyed": str(tmp_path / "x")}, {})
