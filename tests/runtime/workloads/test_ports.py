"""Ports of the machine that somebody else holds, as the kernel tells them."""

import socket
from typing import Any

import pytest

from skerry.workloads import ports
from skerry.workloads.errors import PortError

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue\n"


def options(port: str, address: str = "", inside: str = "80/tcp", mode: str = "") -> dict[str, Any]:
    holder = {"HostPort": port, "HostIp": address}
    return {"HostConfig": {"NetworkMode": mode, "PortBindings": {inside: [holder]}}}


def held(*addresses: str, state: str = "0A", name: str = "tcp") -> Any:
    """Return tables in which these have port 8080 (1F90)."""
    lines = "".join(f"   0: {one}:1F90 00000000:0000 {state} 0:0\n" for one in addresses)
    return lambda asked: HEAD + (lines if asked == name else "")


@pytest.mark.parametrize(
    ("asked", "table"),
    [
        (options("8080"), held("00000000")),
        (options("8080"), held("0100007F")),
        (options("8080", "127.0.0.1"), held("0100007F")),
        (options("8080", "127.0.0.1"), held("00000000")),
        (options("8080", "0.0.0.0"), held("0100007F")),  # noqa: S104
        (options("8080"), held("0" * 32, name="tcp6")),
        (options("8080", "127.0.0.1"), held("0000000000000000FFFF00000100007F", name="tcp6")),
        (options("8080", inside="80/udp"), held("00000000", state="07", name="udp")),
        (options("8080", inside="80"), held("00000000")),
    ],
)
def test_a_port_that_is_held_is_named(asked: dict[str, Any], table: Any) -> None:
    """The message says which port, where, and how to find who it is."""
    with pytest.raises(PortError, match=r"port 8080/(tcp|udp) is held by another process \(on "):
        ports.check(asked, (), table)


@pytest.mark.parametrize(
    ("asked", "table"),
    [
        (options("8081"), held("00000000")),
        (options("8080", "127.0.0.1"), held("0101A8C0")),
        (options("8080", inside="80/udp"), held("00000000")),
        (options("8080"), held("0100007F", state="01")),
        (options("8080", inside="80/sctp"), held("00000000")),
        (options("8080", mode="host"), held("00000000")),
        (options("8000-8100"), held("00000000")),
        (options(""), held("00000000")),
        (options("8080", "nonsense"), held("0100007F")),
        ({"HostConfig": {"PortBindings": {"80/tcp": None}}}, held("00000000")),
        ({}, held("00000000")),
    ],
)
def test_what_does_not_meet_passes(asked: dict[str, Any], table: Any) -> None:
    """Other ports, addresses, protocols and states are nobody's trouble."""
    ports.check(asked, (), table)


def test_our_own_modules_do_not_count() -> None:
    """A module that is replaced publishes its port until it goes."""
    ports.check(options("8080"), {(8080, "tcp")}, held("00000000"))


def test_a_machine_without_ipv6_has_no_such_table() -> None:
    """A table that is not there holds nothing."""

    def table(name: str) -> str:
        if name == "tcp6":
            raise FileNotFoundError(name)
        return HEAD

    ports.check(options("8080"), (), table)


def test_the_kernel_of_this_machine_is_read() -> None:
    """A socket of this process is found, and no longer once it is closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = str(server.getsockname()[1])
        with pytest.raises(PortError):
            ports.check(options(number), ())
    ports.check(options(number), ())
