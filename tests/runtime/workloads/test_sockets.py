"""The folders of sockets that modules see."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.base.client import ServiceClient, UnreachableError
from skerry.base.clock import SystemClock
from skerry.base.http import Request, Response, Router
from skerry.base.log import get_logger
from skerry.base.server import Server
from skerry.workloads.errors import SocketError
from skerry.workloads.sockets import ModuleSockets

VERSION = "2022-08-03"


def router(name: str) -> Router:
    def endpoint(request: Request) -> Response:
        return Response.json([name, request.endpoint])

    router = Router([VERSION])
    router.add("GET", "/who", endpoint)
    return router


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server([], clock=SystemClock(), log=get_logger("edged"))
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server
    server.stop()
    thread.join(10)


@pytest.fixture
def sockets(server: Server, tmp_path: Path) -> ModuleSockets:
    (tmp_path / "mnt").mkdir()
    return ModuleSockets(
        tmp_path / "mnt",
        server,
        agent="edgeAgent",
        router=router,
        workload_requests=10,
        management_requests=50,
    )


def ask(path: Path) -> object:
    return ServiceClient(path, VERSION, 10).get("/who")


def test_a_module_s_socket_is_served_and_names_the_module(sockets: ModuleSockets) -> None:
    """Any user may connect to the socket; nobody but edged may write the folder."""
    folder = sockets.ensure("pump")
    assert ask(folder / "workload.sock") == ["workload", "workload:pump"]
    assert folder.stat().st_mode & 0o777 == 0o755
    assert (folder / "workload.sock").stat().st_mode & 0o777 == 0o666
    assert [path.name for path in folder.iterdir()] == ["workload.sock"]


def test_only_the_agent_s_folder_has_a_management_socket(sockets: ModuleSockets) -> None:
    """Its endpoint tells it from the host's."""
    folder = sockets.ensure("edgeAgent")
    assert ask(folder / "mgmt.sock") == ["agent", "mgmt:agent"]
    assert ask(folder / "workload.sock") == ["workload", "workload:edgeAgent"]


def test_asking_again_keeps_the_socket(sockets: ModuleSockets) -> None:
    """A restart of a module does not replace what it is connected to."""
    first = (sockets.ensure("pump") / "workload.sock").stat().st_ino
    assert (sockets.ensure("pump") / "workload.sock").stat().st_ino == first


def test_what_a_former_edged_left_is_replaced(sockets: ModuleSockets, tmp_path: Path) -> None:
    """A dead socket, or a folder that an engine made in its place, is no obstacle."""
    (tmp_path / "mnt/pump").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "mnt/pump/workload.sock"))
    (tmp_path / "mnt/valve/workload.sock").mkdir(parents=True)
    for name in ("pump", "valve"):
        assert ask(sockets.ensure(name) / "workload.sock") == ["workload", f"workload:{name}"]


def test_the_folder_stays_the_same_folder(sockets: ModuleSockets, tmp_path: Path) -> None:
    """Containers that kept running have it mounted: the new socket has to appear in it."""
    (tmp_path / "mnt/pump").mkdir()
    before = (tmp_path / "mnt/pump").stat().st_ino
    assert sockets.ensure("pump").stat().st_ino == before


def test_a_long_name_fits(sockets: ModuleSockets) -> None:
    """128 characters, although the address of a socket has 108 bytes."""
    folder = sockets.ensure("m" * 128)
    assert (folder / "workload.sock").is_socket()


def test_a_removed_module_leaves_nothing(sockets: ModuleSockets) -> None:
    """Folder and socket are gone; removing twice is fine."""
    folder = sockets.ensure("pump")
    sockets.remove("pump")
    sockets.remove("pump")
    assert not folder.exists()
    with pytest.raises(UnreachableError):
        ask(folder / "workload.sock")
    assert ask(sockets.ensure("pump") / "workload.sock") == ["workload", "workload:pump"]


def test_only_the_named_modules_stay(sockets: ModuleSockets, tmp_path: Path) -> None:
    """Folders of modules that are no more go when edged starts."""
    (tmp_path / "mnt/former").mkdir()
    sockets.ensure("pump")
    sockets.keep_only({"pump"})
    assert [path.name for path in (tmp_path / "mnt").iterdir()] == ["pump"]


def test_a_folder_that_cannot_be_made_is_named(sockets: ModuleSockets, tmp_path: Path) -> None:
    """What is in the way is named, and what to do."""
    (tmp_path / "mnt/pump/workload.sock/left").mkdir(parents=True)
    with pytest.raises(SocketError, match=r"sockets of module 'pump' .*Directory not empty"):
        sockets.ensure("pump")
