"""Shared access signatures: how a device shows the cloud, and a module the hub, that it has a key.

A token is `SharedAccessSignature sr=<audience>&sig=<base64 HMAC>&se=<expiry>[&skn=<name>]`. The
signature is HMAC-SHA256 over `<sr>\\n<se>` with sr **as it stands in the token**: SDKs encode it
differently, so a verifier checks the received text first and reads it afterwards.
Keys never appear here except in `verify` and `device_key`; signing itself is keyd's or the TPM's.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from urllib.parse import quote, quote_plus, unquote

from skerry.base.errors import SkerryError

SCHEME = "SharedAccessSignature"
_MAX_LENGTH = 4096
_SAFE = "!$%&'()*+,-./:;@[]^_|~"
_EXPIRY = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_FIELDS = ("sr", "sig", "se", "skn")


class SasError(SkerryError):
    """A token that is malformed, expired or signed with another key."""


@dataclass(frozen=True)
class SasToken:
    """A token taken apart.

    `resource` is the audience as received (still encoded), `expiry` the text as received,
    `key_name` the policy or `registration`, None where the token names none.
    """

    resource: str
    signature: bytes
    expiry: str
    key_name: str | None = None

    @property
    def audience(self) -> str:
        """The audience with one level of percent-encoding taken off."""
        return unquote(self.resource)

    @property
    def expires(self) -> float:
        """Seconds since 1970 (UTC)."""
        return float(self.expiry)


@dataclass(frozen=True)
class FreshToken:
    """A signed token and when a new one is wanted, in seconds since 1970."""

    text: str
    renew_at: float


def audience(text: str) -> str:
    """Encode an audience as identityd's tokens carry it: lower case, slashes kept.

    Source: azure-iot-edge.md §8.2.
    """
    return quote(text.lower(), safe=_SAFE)


def sign_text(encoded_audience: str, expiry: int) -> bytes:
    """Return the bytes that the key signs; `expiry` in seconds since 1970 (UTC)."""
    return f"{encoded_audience}\n{expiry}".encode()


def token(encoded_audience: str, signature: bytes, expiry: int, key_name: str | None = None) -> str:
    """Put a token together from its audience (encoded) and the HMAC over `sign_text`."""
    encoded = quote_plus(base64.b64encode(signature).decode())
    name = "" if key_name is None else f"&skn={quote(key_name, safe='')}"
    return f"{SCHEME} sr={encoded_audience}&sig={encoded}&se={expiry}{name}"


def parse(text: str) -> SasToken:
    """Take a token apart, fields in any order.

    Raises: SasError, without quoting the token: a valid signature is a secret until it expires.
    """
    if len(text) > _MAX_LENGTH:
        raise SasError(f"token has {len(text)} characters, expected at most {_MAX_LENGTH}")
    scheme, _, rest = text.partition(" ")
    if scheme.lower() != SCHEME.lower() or not rest:
        raise SasError(f"authorization is not a shared access signature, expected {SCHEME!r} first")
    fields = _fields(rest.strip())
    for name in ("sr", "sig", "se"):
        if not fields.get(name):
            raise SasError(f"token has no {name!r}, expected sr, sig and se")
    if not _EXPIRY.fullmatch(fields["se"]):
        raise SasError("token's 'se' is not a time, expected seconds since 1970")
    key_name = unquote(fields["skn"]) if fields.get("skn") else None
    return SasToken(fields["sr"], _signature(fields["sig"]), fields["se"], key_name)


def verify(received: SasToken, key: bytes, now: float) -> None:
    """Check signature and expiry; `now` in seconds since 1970 (UTC). Raises: SasError."""
    signed = f"{received.resource}\n{received.expiry}".encode()
    if not hmac.compare_digest(hmac.digest(key, signed, hashlib.sha256), received.signature):
        raise SasError("token's signature does not match, expected one made with the current key")
    if received.expires <= now:
        late = int(now - received.expires)
        raise SasError(f"token expired {late} s ago; check the clock of the device")


def device_key(group_key: bytes, registration_id: str) -> bytes:
    """Derive a device's key from the key of its enrolment group (HMAC-SHA256, 32 bytes)."""
    return hmac.digest(group_key, registration_id.encode(), hashlib.sha256)


def _fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for part in text.split("&"):
        name, separator, value = part.partition("=")
        if not separator or name not in _FIELDS:
            continue
        if name in fields:
            raise SasError(f"token has {name!r} twice, expected it once")
        fields[name] = value
    return fields


def _signature(text: str) -> bytes:
    try:
        return base64.b64decode(unquote(text), validate=True)
    except ValueError:
        raise SasError("token's 'sig' is not base64") from None
