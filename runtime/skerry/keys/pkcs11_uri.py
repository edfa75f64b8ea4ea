"""PKCS#11 URIs (RFC 7512), as far as they name a token, an object in it, and its PIN.

    pkcs11:token=Skerry;object=device-id?pin-source=file:/etc/skerry/pin

Attributes that would choose another library (`module-path`, `module-name`) are refused: the library
is `aziot_keys.pkcs11_lib_path`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from skerry.base.errors import SettingsError
from skerry.base.files import read_limited
from skerry.base.log import Secret

_SCHEME = "pkcs11:"
_TEXT_FIELDS = {
    "token": "token",
    "manufacturer": "manufacturer",
    "model": "model",
    "serial": "serial",
    "object": "label",
}
_TYPES = ("private", "secret-key", "public", "cert", "data")
_MAX_PIN_BYTES = 4096
_MAX_SLOT = (1 << 64) - 1


@dataclass(frozen=True)
class Pkcs11Uri:
    """What a URI says; None is what it leaves open. `label` is its `object`."""

    token: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    slot_id: int | None = None
    label: str | None = None
    object_id: bytes | None = None
    pin_value: Secret | None = field(default=None, repr=False)
    pin_source: Path | None = None

    def pin(self) -> Secret | None:
        """Return the PIN, read from its file if it has one; raises SettingsError."""
        if self.pin_source is None:
            return self.pin_value
        try:
            text = read_limited(self.pin_source, _MAX_PIN_BYTES).decode("utf-8")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise SettingsError(f"PIN file {self.pin_source} cannot be read: {why}") from None
        return Secret(text.rstrip("\r\n"))

    def describe(self) -> str:
        """Return the URI without its PIN."""
        return format_uri(self, with_pin=False)


def parse_uri(text: str) -> Pkcs11Uri:
    """Parse a URI; raises SettingsError, whose message never holds the PIN."""
    if not text.startswith(_SCHEME):
        raise SettingsError(f"a PKCS#11 URI begins with {_SCHEME!r}; look at RFC 7512")
    path, _, query = text.removeprefix(_SCHEME).partition("?")
    values: dict[str, object] = {}
    for name, data in (*_pairs(path, ";"), *_pairs(query, "&")):
        key, value = _attribute(name, data)
        if key in values:
            raise SettingsError(f"the PKCS#11 URI says {name!r} twice")
        values[key] = value
    values.pop("type", None)
    if "pin_value" in values and "pin_source" in values:
        raise SettingsError("the PKCS#11 URI has both pin-value and pin-source; give one")
    return Pkcs11Uri(**values)  # type: ignore[arg-type]  # _attribute gives each field its type


def format_uri(uri: Pkcs11Uri, *, with_pin: bool = True) -> str:
    """Return the URI as text, with its PIN only if asked."""
    parts = [
        f"{name}={quote(value, safe='')}"
        for name, attribute in _TEXT_FIELDS.items()
        if (value := getattr(uri, attribute)) is not None
    ]
    if uri.slot_id is not None:
        parts.append(f"slot-id={uri.slot_id}")
    if uri.object_id is not None:
        parts.append(f"id={quote_from_bytes(uri.object_id, safe='')}")
    query = []
    if with_pin and uri.pin_value is not None:
        query.append(f"pin-value={quote(uri.pin_value.reveal(), safe='')}")
    if uri.pin_source is not None:
        query.append(f"pin-source={quote(f'file:{uri.pin_source}', safe=':/')}")
    return _SCHEME + ";".join(parts) + ("?" + "&".join(query) if query else "")


def _pairs(text: str, separator: str) -> Iterator[tuple[str, bytes]]:
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if not equals:
            raise SettingsError("a part of the PKCS#11 URI is not name=value")
        yield name, unquote_to_bytes(value)


def _attribute(name: str, data: bytes) -> tuple[str, object]:
    if name == "id":
        return "object_id", data
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise SettingsError(f"{name!r} of the PKCS#11 URI is not UTF-8") from None
    if name in _TEXT_FIELDS:
        return _TEXT_FIELDS[name], text
    if name == "slot-id":
        if not (text.isascii() and text.isdigit() and int(text[:32]) <= _MAX_SLOT):
            raise SettingsError("slot-id of the PKCS#11 URI is not a number")
        return "slot_id", int(text[:32])
    if name == "type" and text in _TYPES:
        return "type", text
    if name == "pin-value":
        return "pin_value", Secret(text)
    if name == "pin-source":
        return "pin_source", _pin_file(text)
    raise SettingsError(
        f"{name!r} of the PKCS#11 URI is not usable; expected token, object, id, serial, "
        "manufacturer, model, slot-id, type, pin-value or pin-source"
    )


def _pin_file(text: str) -> Path:
    path = text.removeprefix("file://").removeprefix("file:")
    if not path.startswith("/") or "\0" in path:
        raise SettingsError("pin-source of the PKCS#11 URI is not file:/path")
    return Path(path)
