"""The network of the host: a way out at all, its largest packet, the proxy everywhere the same."""

import ipaddress
import json

from skerry.certs.model import parse_settings as parse_certd
from skerry.check.appliance import Appliance, table
from skerry.check.model import Check, Finding, Fix, Section, error, ignored, ok, skipped, warning
from skerry.engine.errors import EngineError
from skerry.identity.settings import Dps, Manual, parse_settings

_RTF_UP = 0x1
_LEAST_IPV6 = 1280
_USUAL_MTU = 1500
_PROXY_UNITS = ("skerry-edged.service", "skerry-identityd.service", "docker.service")


def _network(appliance: Appliance) -> Finding:
    source = parse_settings(appliance.settings("identityd")).source
    needed = isinstance(source, Manual | Dps) or bool(
        parse_certd(appliance.settings("certd")).est.urls
    )
    link = default_interface(appliance)
    if link is None:
        up = [name for name in _interfaces(appliance) if name != "lo"]
        evidence = f"interfaces: {', '.join(up) or 'none but lo'}"
        if not needed:
            return ignored(f"offline, and nothing that is configured needs a network ({evidence})")
        return error(
            "offline: no interface has a way out (no default route)",
            "look at the cable, at DHCP (networkctl status) and at /etc/skerry/network",
            evidence,
        )
    servers = name_servers(appliance)
    if not servers and needed:
        return warning(
            f"{link} has a way out, but there is no name server",
            "name one in /etc/skerry/network/*.network (DNS=), or have DHCP give one",
        )
    return ok(f"{link}, name servers {', '.join(servers) or 'none'}")


def default_interface(appliance: Appliance) -> str | None:
    """Return the interface of the default route, from the kernel's tables; None when offline."""
    for line in appliance.text("proc/net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 8 and fields[1] == fields[7] == "00000000" and int(fields[3], 16) & 1:
            return fields[0]
    for line in appliance.text("proc/net/ipv6_route").splitlines():
        fields = line.split()
        way_out = len(fields) == 10 and fields[0] == "0" * 32 and fields[1] == "00"
        if way_out and fields[9] != "lo" and int(fields[8], 16) & _RTF_UP:
            return fields[9]
    return None


def name_servers(appliance: Appliance) -> list[str]:
    """Return the name servers of the host that a container could use as well."""
    text = appliance.text("run/systemd/resolve/resolv.conf") or appliance.text("etc/resolv.conf")
    found = []
    for line in text.splitlines():
        word, _, value = line.strip().partition(" ")
        if word == "nameserver" and not _is_loopback(value.strip()):
            found.append(value.strip())
    return found


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return True


def _interfaces(appliance: Appliance) -> list[str]:
    folder = appliance.root / "sys/class/net"
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def mtu_of(appliance: Appliance, interface: str) -> int | None:
    text = appliance.text(f"sys/class/net/{interface}/mtu").strip()
    return int(text) if text.isdecimal() else None


def _mtu(appliance: Appliance) -> Finding:
    link = default_interface(appliance)
    if link is None:
        return skipped("offline: there is no way out whose packet size would matter")
    host = mtu_of(appliance, link)
    if host is None:
        return skipped(f"the kernel does not tell the MTU of {link}")
    if host < _LEAST_IPV6:
        return warning(
            f"{link} carries packets of {host} bytes only; TLS handshakes may hang",
            f"look at the link; IPv6 needs {_LEAST_IPV6}, usual are {_USUAL_MTU}",
        )
    inside = _network_mtu(appliance)
    if inside > host:
        return warning(
            f"the modules' network sends packets of up to {inside} bytes, {link} carries {host}: "
            "large messages are lost on the way",
            'set "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": '
            f'"{host}"}}}} in /etc/docker/daemon.json and restart docker; then skerry system stop '
            "--remove, docker network rm, skerry system restart: edged makes the network anew",
            host_mtu=host,
            modules_mtu=inside,
        )
    return ok(f"{link} {host}, modules {inside}")


def _network_mtu(appliance: Appliance) -> int:
    """Return the largest packet of the modules' network; Docker's default where it has none."""
    network = table(appliance.settings("edged"), "moby_runtime").get("network", "azure-iot-edge")
    name = network.get("name") if isinstance(network, dict) else network
    try:
        options = appliance.engine().describe_network(str(name)).get("Options") or {}
    except EngineError:
        options = {}
    return int(options.get("com.docker.network.driver.mtu", _USUAL_MTU))


def _proxy_settings(appliance: Appliance) -> Finding:
    units = appliance.units.states(_PROXY_UNITS)
    found = {name: unit.environment.get("https_proxy", "") for name, unit in units.items()}
    agent = table(table(appliance.settings("edged"), "agent"), "env")
    found["the edge agent ([agent.env])"] = str(agent.get("https_proxy", ""))
    if not any(found.values()):
        return ignored("no proxy is configured")
    if len(set(found.values())) == 1:
        return ok(f"https_proxy is the same for {', '.join(found)}")
    without = [name for name, value in found.items() if not value]
    return warning(
        "https_proxy is not the same everywhere",
        "set it in [agent.env] of config.toml and, for the others, with: sudo systemctl edit UNIT",
        *(f"{name}: {'none' if name in without else 'set'}" for name in found),
    )


def _forwarding(appliance: Appliance) -> Finding:
    switch = appliance.text("proc/sys/net/ipv4/ip_forward").strip()
    if switch == "0":
        return error(
            "the kernel does not forward packets: modules reach nothing beyond this device",
            "skerry check --fix, or: sudo sysctl -w net.ipv4.ip_forward=1; look for the file below "
            "/etc/sysctl.d that turns it off",
            "net.ipv4.ip_forward is 0",
            fix=Fix(
                "turned net.ipv4.ip_forward on",
                lambda: _turn_on(appliance, "net.ipv4.ip_forward=1"),
            ),
        )
    try:
        config = json.loads(appliance.options.engine_config.read_text("utf-8"))
    except (OSError, ValueError):
        config = {}
    if isinstance(config, dict) and config.get("iptables") is False:
        return warning(
            f'"iptables" is false in {appliance.options.engine_config}: the engine makes no rules '
            "for the packets of modules",
            "take it out and restart docker, or make rules to forward and masquerade yourself",
        )
    return ok("net.ipv4.ip_forward is on")


def _turn_on(appliance: Appliance, setting: str) -> None:
    appliance.units.run("sysctl", "-w", setting)


CHECKS = (
    Check(
        "forwarding",
        Section.APPLIANCE,
        "packets of modules are forwarded",
        _forwarding,
        needs=("container-engine-uri",),
    ),
    Check(
        "network",
        Section.APPLIANCE,
        "the host has a way out",
        _network,
        needs=("identityd-config-well-formed", "certd-config-well-formed"),
    ),
    Check(
        "mtu",
        Section.APPLIANCE,
        "modules send no packets larger than the link carries",
        _mtu,
        needs=("aziot-edged-config-well-formed", "container-engine-uri"),
    ),
    Check(
        "proxy-settings",
        Section.EDGE,
        "all parts use the same proxy",
        _proxy_settings,
        needs=("aziot-edged-config-well-formed",),
    ),
)
