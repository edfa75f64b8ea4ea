"""PKCS#11 URIs: parsed or refused, and printed as they were parsed."""

from skerry.base.errors import SettingsError
from skerry.keys.pkcs11_uri import format_uri, parse_uri

ALLOWED = (SettingsError,)
SEEDS = (
    b"pkcs11:token=Key%20pairs;object=device-id;type=private?pin-value=1234",
    b"pkcs11:slot-id=1;id=%01%02;serial=1;model=m;manufacturer=f?pin-source=file:/etc/pin",
)


def one(data: bytes) -> None:
    """Parse a URI, print it, and parse it again."""
    uri = parse_uri(data.decode("utf-8", "replace"))
    if parse_uri(format_uri(uri)) != uri:
        raise AssertionError(f"{uri!r} is not what it is printed as")
