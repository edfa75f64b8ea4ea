"""Whether a port that a module would publish is held by somebody else.

The kernel's tables of process 1 are those of the machine's network; edged has none of its own. What
a module of ours publishes does not count: it is replaced, or the deployment contradicts itself.
"""

import ipaddress
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.workloads.errors import PortError

_TABLES = {"tcp": ("tcp", "tcp6"), "udp": ("udp", "udp6")}
_OPEN = {"tcp": "0A", "udp": "07"}
"""State LISTEN, and for udp that of a socket without a peer."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Port:
    """A port of the machine; `address` is as the engine writes it, empty for all."""

    number: int
    protocol: str
    address: str = ""


def kernel_table(name: str) -> str:
    """Return a table of sockets of the machine's network."""
    return Path(f"/proc/1/net/{name}").read_text("ascii")


def published(options: Mapping[str, Any]) -> Iterator[Port]:
    """Yield the ports that createOptions publish; a range is the engine's to choose from."""
    host = options.get("HostConfig")
    if not isinstance(host, dict) or host.get("NetworkMode") == "host":
        return
    bindings = host.get("PortBindings")
    for inside, holders in (bindings if isinstance(bindings, dict) else {}).items():
        protocol = str(inside).partition("/")[2] or "tcp"
        for holder in holders if isinstance(holders, list) else ():
            text = str(holder.get("HostPort", "")) if isinstance(holder, dict) else ""
            if text.isdecimal() and int(text) and protocol in _TABLES:
                yield Port(int(text), protocol, str(holder.get("HostIp") or ""))


def check(
    options: Mapping[str, Any],
    ours: Collection[tuple[int, str]],
    table: Callable[[str], str] = kernel_table,
) -> None:
    """Raise PortError for a port that is held and not among `ours`, (number, protocol) each."""
    for port in published(options):
        if (port.number, port.protocol) in ours:
            continue
        for held in _held(port, table):
            if _meet(port.address, held):
                shown = f"{port.number}/{port.protocol}"
                raise PortError(
                    f"port {shown} is held by another process (on {held}); end it, or publish "
                    f"another port; who it is: ss -l{port.protocol[0]}np sport = :{port.number}"
                )


def _held(port: Port, table: Callable[[str], str]) -> Iterator[Address]:
    """Yield the addresses on which somebody listens."""
    for name in _TABLES[port.protocol]:
        try:
            lines = table(name).splitlines()[1:]
        except OSError:
            continue  # no such protocol on this machine
        for line in lines:
            _, local, _, state, *_ = line.split()
            address, _, number = local.partition(":")
            if state == _OPEN[port.protocol] and int(number, 16) == port.number:
                yield _address(address)


def _address(text: str) -> Address:
    """Return an address of the kernel's tables: words of four bytes, each the other way round."""
    raw = bytes.fromhex(text)
    data = b"".join(raw[n : n + 4][::-1] for n in range(0, len(raw), 4))
    found = ipaddress.ip_address(data)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _meet(wanted: str, held: Address) -> bool:
    """Tell whether an address that is held keeps the engine from binding a wanted one."""
    try:
        asked = ipaddress.ip_address(wanted or "0.0.0.0")  # noqa: S104 - as the engine reads it
    except ValueError:
        return False
    if held.is_unspecified or not wanted or asked.is_unspecified:
        return True
    return held == asked
