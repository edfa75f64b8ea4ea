"""No module gets another's keys or certificates: attempts by the thousand, real kernel and Moby.

`victim` and `thief` are modules; the thief's container also has every socket of edged, as a
careless deployment could mount them. Whatever it says, edged goes by what the kernel says. Controls
show that the victim itself is served all the while, so a refusal is no service that is down.
"""

import base64
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from harness.edged import House, until
from harness.engine import IMAGE, SLEEPING_AGENT, Moby, borrowed
from harness.tiers import Counts
from skerry.base.client import ApiError, ServiceClient
from skerry.keys.client import KeysClient

pytestmark = pytest.mark.engine

DATA = {"keyId": "primary", "algo": "HMACSHA256", "data": "aGVsbG8="}
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
CGROUPS = Path("/sys/fs/cgroup")

THIEF = (Path(__file__).resolve().parents[2] / "fakes" / "thief.py").read_text()


@pytest.fixture(scope="module")
def house(real_engine: Moby, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """edged as a process, and two modules; all of edged's sockets are mounted into the thief's."""
    made = House(tmp_path_factory.mktemp("house"), real_engine.uri)
    made.configure(SLEEPING_AGENT)
    made.host_security()
    made.spawn(log_level="info")
    try:
        until(lambda: made.modules().get("edgeAgent") == "running", "the agent runs")
        run_module(made, real_engine, "victim")
        run_module(made, real_engine, "thief", f"{made.state}/mnt:/all", f"{made.folder}:/house")
        yield made
    finally:
        made.stop()
        real_engine.remove_containers()


def run_module(house: House, moby: Moby, name: str, *binds: str) -> None:
    """Have the agent make a module; the call comes from the agent's container."""
    options = {**borrowed("/bin/sleep", "3600", binds=binds), "StopSignal": "SIGKILL"}
    settings = {"image": IMAGE, "createOptions": options}
    body = {"name": name, "type": "docker", "imagePullPolicy": "never"}
    create = json.dumps({**body, "config": {"settings": settings}})
    call = (
        "import http.client, socket, sys\n"
        "for method, path, body in zip(*[iter(sys.argv[1:])] * 3):\n"
        "    c = http.client.HTTPConnection('localhost')\n"
        "    c.sock = socket.socket(socket.AF_UNIX)\n"
        "    c.sock.connect('/run/iotedge/mgmt.sock')\n"
        "    c.request(method, path + '?api-version=2022-08-03', body)\n"
        "    a = c.getresponse()\n"
        "    print(a.status, a.read().decode())\n"
    )
    identity = json.dumps({"moduleId": name})
    steps = [
        "POST", "/identities", identity, "POST", "/modules", create,
        "POST", f"/modules/{name}/start", "",
    ]  # fmt: skip
    said = says(moby, "edgeAgent", "/usr/bin/python3", "-c", call, *steps)
    assert [line[:3] for line in said.splitlines()] == ["200", "201", "204"], said


def says(moby: Moby, container: str, *command: str) -> str:
    """Run a command in a container and return what it wrote."""
    started = moby.api.exec_create(container, list(command))
    return str(moby.api.exec_start(started["Id"]).decode())


def steal(
    moby: Moby, container: str, sockets: list[str], number: int, *how: str
) -> tuple[Counter[str], list[Any]]:
    """Attempt so often from inside a container; returns statuses, and what was not refused."""
    arguments = [json.dumps(sockets), str(number), f"{container} {number}", "victim", *how]
    said = says(moby, container, "/usr/bin/python3", "-I", "-c", THIEF, *arguments)
    assert said.startswith("{"), said
    answer = json.loads(said)
    return Counter(answer["seen"]), answer["taken"]


def assert_victim_is_served(moby: Moby) -> None:
    """The victim gets its own signatures and certificates meanwhile."""
    seen, _ = steal(moby, "victim", ["/run/iotedge/workload.sock"], 30, "own")
    # what it decrypts was never encrypted: those are answered 400
    assert seen["200"] + seen["201"] >= 12, seen


def test_a_module_does_not_get_what_is_anothers(
    house: House, real_engine: Moby, counts: Counts
) -> None:
    """By name, encoding, user, version, header, generation, through any socket: refused."""
    sockets = [
        "/run/iotedge/workload.sock", "/all/victim/workload.sock", "/all/edgeAgent/workload.sock",
        "/all/edgeAgent/mgmt.sock", "/house/mgmt.sock", "/house/workload.sock",
    ]  # fmt: skip
    assert_victim_is_served(real_engine)
    number = counts.of("spoof attempts of a module", reduced=1000, full=20000)
    seen, taken = steal(real_engine, "thief", sockets, number)
    assert taken == []
    assert sum(seen.values()) == number
    assert seen["403"] > number // 5
    assert_victim_is_served(real_engine)


def test_a_container_of_somebody_else_gets_nothing(
    house: House, real_engine: Moby, counts: Counts
) -> None:
    """Not even under a module's name or labels of its own making, with its socket in place."""
    spy = borrowed("/bin/sleep", "3600", binds=(f"{house.state}/mnt/victim:/run/iotedge",))
    real_engine.api.create_container_from_config(
        {"Image": IMAGE, "Hostname": "victim", "Labels": {"name": "victim"}, **spy}, "spy"
    )
    real_engine.api.start("spy")
    try:
        number = counts.of("spoof attempts of a container", reduced=200, full=2000)
        _, taken = steal(real_engine, "spy", ["/run/iotedge/workload.sock"], number)
        assert taken == []
    finally:
        real_engine.api.remove_container("spy", force=True)


def test_a_user_of_the_host_gets_nothing(house: House, counts: Counts) -> None:
    """Root and any other user outside of containers is no module, on each of the sockets."""
    folders = [house.state / "mnt/victim/workload.sock", house.folder / "workload.sock"]
    users = [0, 1000, 13615, 13622, 65534]
    number = counts.of("spoof attempts of the host", reduced=100, full=1000)
    refused = 0
    for attempt in range(number):
        child = os.fork()
        if child == 0:
            with suppress(Exception):
                os.setuid(users[attempt % len(users)])
                client = ServiceClient(folders[attempt % 2], "2022-08-03", 30)
                try:
                    client.post("/modules/victim/genid/1/sign", DATA)
                except ApiError as error:
                    os._exit(0 if error.status == 403 else 2)
            # the folders of a test are root's: who cannot reach the socket is kept out as well
            os._exit(1 if os.geteuid() == 0 else 0)
        refused += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert refused == number


def join(pid_of_container: int) -> None:
    """Move this process into the control groups of a container."""
    for line in Path(f"/proc/{pid_of_container}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        name = controllers.removeprefix("name=")
        folder = CGROUPS / name / path[1:] if name else CGROUPS / path[1:]
        if path != "/" and (folder / "cgroup.procs").exists():
            (folder / "cgroup.procs").write_text(str(os.getpid()))


def pid_of(moby: Moby, name: str) -> int:
    return int(moby.api.inspect_container(name)["State"]["Pid"])


def take_over(pid: int, container_pid: int) -> int | None:
    """Start a process of a container under a process id; None when another process got it."""
    LAST_PID.write_text(str(pid - 1))
    child = os.fork()
    if child == 0:
        join(container_pid)
        signal.pause()
    if child == pid:
        until(lambda: same_groups(child, container_pid), "the victim's process is in its container")
        return child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def same_groups(pid: int, container_pid: int) -> bool:
    texts = [Path(f"/proc/{one}/cgroup").read_text() for one in (pid, container_pid)]
    ids = [{line.rpartition("/")[2] for line in text.splitlines()} for text in texts]
    return any(len(one) >= 64 for one in ids[0] & ids[1])


def call_and_end(container_pid: int, path: Path) -> tuple[socket.socket, int]:
    """Have a process of a container ask for the victim; it ends, its call stays open."""
    open_end = socket.socket(socket.AF_UNIX)
    child = os.fork()
    if child == 0:
        join(container_pid)
        open_end.connect(str(path))
        body = json.dumps(DATA).encode()
        head = "POST /modules/victim/genid/1/sign?api-version=2022-08-03 HTTP/1.1\r\nHost: x\r\n"
        open_end.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        os._exit(0)
    os.waitpid(child, 0)
    return open_end, child


@pytest.mark.skipif(not os.access(LAST_PID, os.W_OK), reason="process ids cannot be chosen here")
def test_a_reused_process_id_lends_nobody_its_container(
    house: House, real_engine: Moby, counts: Counts, tmp_path: Path
) -> None:
    """A thief's process asks and ends, the victim's takes its id before edged looks: refused."""
    assert house.process is not None
    victim, thief = pid_of(real_engine, "victim"), pid_of(real_engine, "thief")
    # the address of a socket is short
    (tmp_path / "s").symlink_to(house.state / "mnt/victim")
    number = counts.of("reuses of a process id", reduced=20, full=300)
    tried = 0
    for _ in range(number * 3):
        os.kill(house.process.pid, signal.SIGSTOP)
        try:
            call, pid = call_and_end(thief, tmp_path / "s/workload.sock")
            heir = take_over(pid, victim)
        finally:
            os.kill(house.process.pid, signal.SIGCONT)
        with call:
            call.settimeout(30)
            status = call.recv(65536).split(b" ", 2)[1]
        if heir is not None:
            tried += 1
            os.kill(heir, signal.SIGKILL)
            os.waitpid(heir, 0)
        assert status == b"403"
        if tried == number:
            break
    assert tried == number


def test_a_handle_cannot_be_guessed(house: House, counts: Counts) -> None:
    """keyd signs with handles that it made itself; every changed or invented one is refused."""
    keys = KeysClient(house.services.socket("keyd"))
    handle = keys.create_key("spoof-test")
    assert keys.sign_hmac(handle, b"hello")
    number = counts.of("guessed handles", reduced=300, full=20000)
    accepted = []
    for attempt in range(number):
        guess = changed(handle, attempt)
        try:
            keys.sign_hmac(guess, b"hello")
        except (ApiError, ValueError):
            continue
        accepted.append(guess)
    assert accepted == []


def changed(handle: str, attempt: int) -> str:
    """Return a handle with one bit of its content or signature changed, or one made up."""
    fields = {name: values[0] for name, values in parse_qs(handle).items()}
    field = ("sr", "sig")[attempt % 2]
    data = bytearray(base64.b64decode(fields[field]))
    place = attempt % (len(data) * 8)
    data[place // 8] ^= 1 << place % 8
    fields[field] = base64.b64encode(bytes(data)).decode()
    if attempt % 7 == 0:
        fields["sig"] = base64.b64encode(os.urandom(32)).decode()
    return urlencode(fields)
