"""The way to the cloud, from the host: TLS to hub, DPS, EST. Offline is said once, by `network`."""

import functools
import os
from collections.abc import Callable
from urllib.parse import urlsplit

from skerry.base.client import ApiError, UnreachableError
from skerry.base.errors import SkerryError
from skerry.base.https import Proxy, proxy_from
from skerry.certs.model import parse_settings as parse_certd
from skerry.check.appliance import Appliance, table
from skerry.check.checks.names import parent_of
from skerry.check.machine import explain
from skerry.check.model import Check, Finding, Section, error, ignored, ok, warning, worst
from skerry.identity.client import IdentityClient
from skerry.identity.settings import Dps, Manual, Standalone, parse_settings

PORTS = {"amqp": 5671, "https": 443, "mqtt": 8883}
_NEEDS = ("identityd-config-well-formed", "network")


def upstream_of(appliance: Appliance) -> str | None:
    """Return the host that this device talks to: parent, else hub; None when it stands alone.

    Raises: SkerryError when it is not known yet, with what to do.
    """
    return appliance.facts.once("upstream", lambda: _upstream(appliance))


def _upstream(appliance: Appliance) -> str | None:
    source = parse_settings(appliance.settings("identityd")).source
    if source is None or isinstance(source, Standalone):
        return None
    parent = parent_of(appliance)
    if parent is not None:
        return parent
    if appliance.options.iothub_hostname is not None:
        return appliance.options.iothub_hostname
    if isinstance(source, Manual):
        return source.hub_name
    try:
        return IdentityClient(appliance.socket("identityd")).device().hub_name
    except (ApiError, UnreachableError) as problem:
        raise UnknownHubError(f"DPS has not named a hub yet ({problem})") from problem


class UnknownHubError(SkerryError):
    """The device was not provisioned yet."""


def _connect(appliance: Appliance, *, protocol: str) -> Finding:
    try:
        host = upstream_of(appliance)
    except UnknownHubError as problem:
        return warning(
            str(problem),
            "see whether the device is provisioned: journalctl -u skerry-identityd; or name the "
            "hub with --iothub-hostname",
        )
    if host is None:
        return ignored("this device stands alone: it has no hub")
    agent = table(appliance.settings("edged"), "agent")
    chosen = str(table(agent, "env").get("UpstreamProtocol", "")).lower()
    if protocol == "amqp" and chosen != "amqp":
        return ignored("the agent does not speak AMQP")
    port = PORTS[protocol]
    if protocol == "mqtt":
        port = int(str(table(agent, "env").get("UpstreamPort", port)))
    return _reach(appliance, host, port, roots(appliance), proxy(appliance))


def _dps(appliance: Appliance) -> Finding:
    source = parse_settings(appliance.settings("identityd")).source
    if not isinstance(source, Dps):
        return ignored("this device is not provisioned by DPS")
    parts = urlsplit(source.endpoint)
    host, port = parts.hostname or "", parts.port or PORTS["https"]
    return _reach(appliance, host, port, roots(appliance), proxy(appliance))


def _est(appliance: Appliance) -> Finding:
    certd = parse_certd(appliance.settings("certd"))
    urls = {*certd.est.urls.values(), *(one.url for one in certd.issuance.values() if one.url)}
    if not urls:
        return ignored("no certificate comes from an EST server")
    trusted = tuple(_pem(appliance, name) for name in certd.est.trusted)
    found = []
    for url in sorted(urls):
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PORTS["https"]
        found.append(_reach(appliance, host, port, trusted, proxy(appliance)))
    return worst(found, ok(*sorted(urls)))


def _reach(
    appliance: Appliance, host: str, port: int, trusted: tuple[str, ...], way: Proxy | None
) -> Finding:
    seconds = appliance.options.connect_seconds
    try:
        version = appliance.network.tls(host, port, trusted, way, seconds)
    except (OSError, SkerryError) as problem:
        remedies: list[tuple[Callable[[str], bool], str]] = [
            (lambda text: "resolved" in text, "look at the name servers: resolvectl status"),
            (
                lambda text: "trusted" in text or "verify failed" in text,
                "look at the clock (skerry check host-local-time), at trust_bundle_cert in "
                "config.toml, and whether a proxy inspects TLS",
            ),
            (lambda text: "refused" in text, "see whether the server runs there"),
        ]
        cause = explain(problem)
        remedy = next((text for fits, text in remedies if fits(cause)), _FIREWALL)
        return error(f"{host}:{port} cannot be reached: {cause}", remedy.format(port=port))
    return ok(f"{host}:{port}, {version}")


_FIREWALL = "let the firewall pass TCP port {port} to it, or name a proxy"


def roots(appliance: Appliance) -> tuple[str, ...]:
    """Return the roots that the configuration trusts beside the system's, as PEM."""
    named = parse_settings(appliance.settings("identityd")).trusted_certs
    return tuple(_pem(appliance, name) for name in named)


def _pem(appliance: Appliance, cert_id: str) -> str:
    try:
        return appliance.certs().get(cert_id).decode()
    except (ApiError, UnreachableError) as problem:
        raise SkerryError(f"the trusted certificate {cert_id!r} cannot be read: {problem}") from (
            problem
        )


def proxy(appliance: Appliance) -> Proxy | None:
    """Return the way out: the option, else the agent's, else that of this process."""
    if appliance.options.proxy_uri is not None:
        return Proxy(appliance.options.proxy_uri)
    agent = table(appliance.settings("edged"), "agent")
    return proxy_from(table(agent, "env")) or proxy_from(os.environ)


CHECKS = (
    Check(
        "est-server-https",
        Section.IDENTITY,
        "the EST servers can be reached",
        _est,
        needs=("certd-config-well-formed", "network"),
    ),
    *(
        Check(
            f"host-connect-iothub-{protocol}",
            Section.IDENTITY_LINK,
            f"the host reaches the hub or parent on port {port}",
            functools.partial(_connect, protocol=protocol),
            needs=_NEEDS,
        )
        for protocol, port in PORTS.items()
    ),
    Check(
        "host-connect-dps-endpoint",
        Section.IDENTITY_LINK,
        "the host reaches DPS",
        _dps,
        needs=_NEEDS,
    ),
)
