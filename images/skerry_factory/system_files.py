"""Files of an image that follow from keys of `[system]`: network, proxy, time servers.

They are systemd-networkd's, systemd's and chrony's own; what a seed brings for one device has a
lower number and wins. A definition without these keys has none of the files.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skerry.config.problems import Finding, KeyPath

NETWORK = "etc/systemd/network"
PROXY = "etc/systemd/system.conf.d/10-skerry-proxy.conf"
TIME_SERVERS = "etc/chrony/sources.d/skerry.sources"


@dataclass(frozen=True)
class Interface:
    """An interface with fixed addresses; `vlan` is its number when it is one, upon `on`."""

    name: str
    addresses: tuple[str, ...]
    gateway: str | None
    dns: tuple[str, ...]
    vlan: int | None
    on: str | None


@dataclass(frozen=True)
class SystemFiles:
    """What the files are made of."""

    interfaces: tuple[Interface, ...]
    proxy: Mapping[str, str]
    time_servers: tuple[str, ...]

    def render(self) -> dict[str, str]:
        """Return the content of each file by its path in the tree."""
        files = dict(_network(self.interfaces))
        if self.proxy:
            pairs = {**{name.upper(): value for name, value in self.proxy.items()}, **self.proxy}
            values = " ".join(f'"{name}={value}"' for name, value in sorted(pairs.items()))
            files[PROXY] = f"[Manager]\nDefaultEnvironment={values}\n"
        if self.time_servers:
            lines = [f"server {server} iburst\n" for server in self.time_servers]
            files[TIME_SERVERS] = "".join(lines)
        return files


def read_system_files(system: Mapping[str, Any]) -> SystemFiles:
    """Return what the checked table `[system]` says."""
    network = system["network"]
    interfaces = [
        Interface(
            one["name"],
            tuple(one["addresses"]),
            one.get("gateway"),
            tuple(one["dns"]),
            one.get("vlan"),
            one.get("on"),
        )
        for one in network["interfaces"]
    ]
    proxy = {f"{name}_proxy": value for name, value in _proxy(network)}
    return SystemFiles(tuple(interfaces), proxy, tuple(system["time_servers"]))


def find_mistakes(system: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what the schema cannot tell: what is no address, names twice, VLANs upon nothing."""
    seen: set[str] = set()
    names = {one["name"] for one in system["network"]["interfaces"]}
    for number, one in enumerate(system["network"]["interfaces"]):
        path = ("system", "network", "interfaces", number)
        if one["name"] in seen:
            yield Finding((*path, "name"), f"{one['name']!r} is there twice", "another name")
        seen.add(one["name"])
        for index, address in enumerate(one["addresses"]):
            if not _is(ipaddress.ip_interface, address) or "/" not in address:
                at = (*path, "addresses", index)
                yield Finding(at, f"{address!r} is no address", "such as '192.0.2.10/24'")
        plain: list[tuple[KeyPath, str]] = [
            ((*path, "dns", index), server) for index, server in enumerate(one["dns"])
        ]
        plain += [((*path, "gateway"), one["gateway"])] if "gateway" in one else []
        for where, value in plain:
            if not _is(ipaddress.ip_address, value):
                yield Finding(where, f"{value!r} is no address", "such as '192.0.2.1'")
        if "on" in one and one["on"] not in names:
            told = f"{one['on']!r} is no interface of this array"
            yield Finding((*path, "on"), told, f"one of {', '.join(sorted(names))}")
        if ("vlan" in one) != ("on" in one):
            key, other = ("vlan", "on") if "vlan" in one else ("on", "vlan")
            yield Finding((*path, key), f"{key} without {other}", "both for a VLAN, else neither")


def _proxy(network: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in network["proxy"].items():
        if name == "except":
            yield "no", ",".join(value)
        else:
            yield name, value


def _network(interfaces: Sequence[Interface]) -> Iterator[tuple[str, str]]:
    for one in interfaces:
        lines = ["[Match]", f"Name={one.name}", "", "[Network]"]
        lines += [f"Address={address}" for address in one.addresses]
        lines += [f"Gateway={one.gateway}"] if one.gateway else []
        lines += [f"DNS={server}" for server in one.dns]
        lines += [f"VLAN={vlan.name}" for vlan in interfaces if vlan.on == one.name]
        if one.vlan is not None:
            device = f"[NetDev]\nName={one.name}\nKind=vlan\n\n[VLAN]\nId={one.vlan}\n"
            yield f"{NETWORK}/60-{one.name}.netdev", device
        yield f"{NETWORK}/60-{one.name}.network", "\n".join(lines) + "\n"


def _is(kind: Any, text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True
