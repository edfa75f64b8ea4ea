"""What a schema cannot say: keys that exclude or need each other, and values with an inner grammar.

Each rule takes the tables and yields findings. The tables may still break the schema, so rules look
through `at` and `text_at`, which give nothing where the shape is wrong: one run reports everything.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from skerry.base.public_key import is_public_key
from skerry.config.connection import decode_key, parse_connection_string
from skerry.config.deployment import registry_of
from skerry.config.duration import seconds_of
from skerry.config.problems import Finding, KeyPath
from skerry.config.references import strings, value_at
from skerry.config.words import nearest

Tables = Mapping[str, Any]
_DAY_SECONDS = 86400
_UPSTREAM = re.compile(r"\binto\s+\$upstream\s*$", re.IGNORECASE)
_NO_KEYS = ("agent", "modules", "hub", "secrets", "aziot_keys")
_RESERVED_MODULES = ("edgeAgent", "edgeHub")
ISSUED_CERTS: tuple[KeyPath, ...] = (
    ("provisioning", "authentication", "identity_cert"),
    ("provisioning", "attestation", "identity_cert"),
    ("cert_issuance", "local_ca", "cert"),
    ("edge_ca",),
)
_CERT_IDS = {
    ISSUED_CERTS[0]: "device-id",
    ISSUED_CERTS[1]: "device-id",
    ISSUED_CERTS[2]: "local-ca",
    ISSUED_CERTS[3]: "aziot-edged-ca",
}


def check(tables: Tables) -> list[Finding]:
    """Apply every rule."""
    rules: tuple[Callable[[Tables], Iterator[Finding]], ...] = (
        _hostnames, _provisioning, _keys, _pkcs11, _issuance, _est_auth, _preloaded_certs, _modules,
        _logins, _dependencies, _garbage_collection, _numbers,
        _plain_http, _image_trust, _hub,
    )  # fmt: skip
    return [finding for rule in rules for finding in rule(tables)]


def at(tables: Tables, *path: str | int) -> Mapping[str, Any]:
    """Return the table at a path, an empty one where there is none."""
    value = value_at(tables, path)
    return value if isinstance(value, dict) else {}


def text_at(tables: Tables, *path: str | int) -> str | None:
    """Return the string at a path, None where there is none."""
    value = value_at(tables, path)
    return value if isinstance(value, str) else None


def _hostnames(tables: Tables) -> Iterator[Finding]:
    if "parent_hostname" in tables and "local_gateway_hostname" in tables:
        message = "given besides parent_hostname, which is the same setting"
        yield Finding(("local_gateway_hostname",), message, "one of the two", on_key=True)


def _provisioning(tables: Tables) -> Iterator[Finding]:
    source = text_at(tables, "provisioning", "source")
    if source == "dps":
        for key in ("parent_hostname", "local_gateway_hostname"):
            if key in tables:
                message = "DPS provisioning is not supported in nested mode"
                yield Finding((key,), message, "provisioning.source = 'manual'", on_key=True)
    attestation = at(tables, "provisioning", "attestation")
    if isinstance(attestation.get("identity_cert"), dict) and "registration_id" not in attestation:
        message = "missing, and the certificate has yet to be issued for it"
        path = ("provisioning", "attestation", "registration_id")
        yield Finding(path, message, "the registration id", on_key=True)


def _keys(tables: Tables) -> Iterator[Finding]:
    text = text_at(tables, "provisioning", "connection_string")
    if text is not None:
        try:
            parse_connection_string(text)
        except ValueError as error:
            form = "'HostName=…;DeviceId=…;SharedAccessKey=…'"
            yield Finding(("provisioning", "connection_string"), str(error), form)
    for path in (
        ("provisioning", "authentication", "device_id_pk", "value"),
        ("provisioning", "attestation", "symmetric_key", "value"),
        ("provisioning", "attestation", "group_key"),
    ):
        key = text_at(tables, *path)
        if key is not None and decode_key(key) is None:
            yield Finding(path, "the key is not base64", "base64, with or without its padding")


def _pkcs11(tables: Tables) -> Iterator[Finding]:
    """Yield what needs a token while the library of no token is named."""
    keys = at(tables, "aziot_keys")
    if "pkcs11_lib_path" in keys:
        return
    expected = "pkcs11_lib_path in [aziot_keys], the library of the token"
    if "pkcs11_base_slot" in keys:
        path = ("aziot_keys", "pkcs11_base_slot")
        yield Finding(path, "given without pkcs11_lib_path", expected, on_key=True)
    for place, text in strings(tables):
        if place[0] not in _NO_KEYS and text.startswith("pkcs11:"):
            yield Finding(place, "a key in a PKCS#11 token, and no token is set up", expected)


def _issuance(tables: Tables) -> Iterator[Finding]:
    for path in ISSUED_CERTS:
        cert = at(tables, *path)
        if "common_name" in cert and "subject" in cert:
            message = "given besides common_name"
            yield Finding((*path, "subject"), message, "one of the two", on_key=True)
        method = cert.get("method")
        if method == "local_ca" and path == ISSUED_CERTS[2]:
            message = "the local CA cannot issue its own certificate"
            yield Finding((*path, "method"), message, "'est' or 'self_signed'")
        elif method == "local_ca" and not at(tables, "cert_issuance", "local_ca"):
            message = "'local_ca' needs [cert_issuance.local_ca], which is missing"
            yield Finding((*path, "method"), message, "the certificate and key of a local CA")
        elif method == "est" and "url" not in cert:
            urls = at(tables, "cert_issuance", "est", "urls")
            if "default" not in urls and _CERT_IDS[path] not in urls:
                message = "'est' needs a server, and no URL is given"
                yield Finding(
                    (*path, "method"), message, "url, or default in cert_issuance.est.urls"
                )


def _est_auth(tables: Tables) -> Iterator[Finding]:
    pairs = (
        ("username", "password"),
        ("identity_cert", "identity_pk"),
        ("bootstrap_identity_cert", "bootstrap_identity_pk"),
    )
    for path in (*ISSUED_CERTS, ("cert_issuance", "est", "auth")):
        auth = at(tables, *path)
        if path in ISSUED_CERTS and auth.get("method") != "est":
            continue
        for one, other in pairs:
            if (one in auth) != (other in auth):
                present, absent = (one, other) if one in auth else (other, one)
                yield Finding((*path, absent), f"missing besides {present}", on_key=True)


def _preloaded_certs(tables: Tables) -> Iterator[Finding]:
    certs = at(tables, "preloaded_certs")
    for name, value in certs.items():
        for index, member in enumerate(value if isinstance(value, list) else ()):
            if isinstance(certs.get(member), list):
                path = ("preloaded_certs", name, index)
                yield Finding(path, f"{member!r} is itself a list", "the id of one certificate")


def _modules(tables: Tables) -> Iterator[Finding]:
    modules = at(tables, "modules")
    secrets = at(tables, "secrets")
    for name in modules:
        if name in _RESERVED_MODULES:
            place = "[agent]" if name == "edgeAgent" else "[hub]"
            message = f"{name!r} is a module of the system; it is set in {place}"
            yield Finding(("modules", name), message, "another name", on_key=True)
        wanted = at(tables, "modules", name).get("secrets")
        for index, secret in enumerate(wanted if isinstance(wanted, list) else ()):
            if isinstance(secret, str) and secret not in secrets:
                path = ("modules", name, "secrets", index)
                message = f"{secret!r} is not in [secrets]"
                yield Finding(path, message, "the name of a secret", nearest(secret, secrets))


def _image_trust(tables: Tables) -> Iterator[Finding]:
    rules = tables.get("image_trust")
    for number, rule in enumerate(rules if isinstance(rules, list) else ()):
        keys = rule.get("keys") if isinstance(rule, dict) else None
        for index, pem in enumerate(keys if isinstance(keys, list) else ()):
            path = ("image_trust", number, "keys", index)
            if isinstance(pem, str) and not is_public_key(pem):
                expected = "a public key in PEM (ECDSA, Ed25519 or RSA), as cosign.pub"
                yield Finding(path, "this is no public key", expected)


def _hub(tables: Tables) -> Iterator[Finding]:
    """Yield what only one kind of device can have: leaf devices of its own, or routes upstream."""
    hub = at(tables, "hub")
    if text_at(tables, "provisioning", "source") != "standalone":
        if at(hub, "leaf_devices"):
            message = "the cloud says which leaf devices this hub has"
            expected = "none here; make the device there, with this one as its parent"
            yield Finding(("hub", "leaf_devices"), message, expected, on_key=True)
        return
    for name, route in at(hub, "routes").items():
        text = route.get("route") if isinstance(route, dict) else route
        if isinstance(text, str) and _UPSTREAM.search(text):
            message = "the route leads to $upstream, and this device has no cloud"
            expected = 'a route INTO BrokeredEndpoint("/modules/NAME/inputs/INPUT")'
            yield Finding(("hub", "routes", name), message, expected)
    for name, leaf in at(hub, "leaf_devices").items():
        table = at(leaf, "authentication") if isinstance(leaf, dict) else {}
        for key in ("primaryKey", "secondaryKey"):
            value = table.get(key)
            if isinstance(value, str) and decode_key(value) is None:
                path = ("hub", "leaf_devices", name, "authentication", key)
                yield Finding(path, "the key is not base64", "a key in base64")


def _logins(tables: Tables) -> Iterator[Finding]:
    """Yield logins that contradict another's: the agent knows one for each registry."""
    first: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for name in at(tables, "modules"):
        auth = at(tables, "modules", name, "auth")
        image = text_at(tables, "modules", name, "image")
        if not auth or image is None:
            continue
        registry = (text_at(auth, "serveraddress") or registry_of(image)).lower()
        other, login = first.setdefault(registry, (name, auth))
        if any(auth.get(key) != login.get(key) for key in ("username", "password")):
            message = f"another login to {registry!r} than that of module {other!r}"
            yield Finding(("modules", name, "auth"), message, "one login for each registry")


def _dependencies(tables: Tables) -> Iterator[Finding]:
    modules = at(tables, "modules")
    needs: dict[str, list[str]] = {}
    for name in modules:
        wanted = at(tables, "modules", name).get("dependsOn")
        needs[name] = [w for w in wanted if isinstance(w, str)] if isinstance(wanted, list) else []
        for index, other in enumerate(needs[name]):
            if other not in modules:
                path = ("modules", name, "dependsOn", index)
                message = f"{other!r} is not a module of this file"
                yield Finding(path, message, "the name of a module", nearest(other, modules))
    for name in needs:
        circle = _circle(name, needs)
        if circle is not None and name == min(circle):
            message = f"modules depend on each other: {' -> '.join([*circle, name])}"
            yield Finding(("modules", name, "dependsOn"), message, "an order without circles")


def _circle(start: str, needs: Mapping[str, list[str]]) -> list[str] | None:
    """Return the way from a module back to itself, None if there is none."""
    trails = [[start]]
    seen: set[str] = set()
    while trails:
        trail = trails.pop()
        for other in needs.get(trail[-1], ()):
            if other == start:
                return trail
            if other not in seen:
                seen.add(other)
                trails.append([*trail, other])
    return None


def _garbage_collection(tables: Tables) -> Iterator[Finding]:
    for key in ("cleanup_recurrence", "image_age_cleanup_threshold"):
        path = ("image_garbage_collection", key)
        text = text_at(tables, *path)
        seconds = seconds_of(text) if text is not None else _DAY_SECONDS
        if seconds is None:
            yield Finding(path, f"{text!r} is not a duration", "'1d', '36h' or '7 days'")
        elif key == "cleanup_recurrence" and (seconds % _DAY_SECONDS or not seconds):
            yield Finding(path, f"{text!r} is not a number of whole days", "'1d', '2d' or '48h'")


def _numbers(tables: Tables) -> Iterator[Finding]:
    """Yield numbers that JSON cannot carry; createOptions become JSON."""

    def walk(value: object, path: KeyPath) -> Iterator[Finding]:
        if isinstance(value, float) and not math.isfinite(value):
            yield Finding(path, f"{value} has no form in JSON", "a finite number")
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from walk(item, (*path, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from walk(item, (*path, index))

    yield from walk(tables, ())


def _plain_http(tables: Tables) -> Iterator[Finding]:
    urls: list[KeyPath] = [
        ("cert_issuance", "est", "urls", key) for key in at(tables, "cert_issuance", "est", "urls")
    ]
    urls += [(*path, "url") for path in ISSUED_CERTS]
    for path in urls:
        if (text_at(tables, *path) or "").startswith("http://"):
            message = "the EST server would be reached without encryption"
            yield Finding(path, message, "a URL that begins with https://")
