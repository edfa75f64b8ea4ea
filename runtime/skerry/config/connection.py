"""The connection string of a device, as the hub's portal hands it out."""

import base64
import binascii
from dataclasses import dataclass

_REQUIRED = ("HostName", "DeviceId", "SharedAccessKey")


@dataclass(frozen=True)
class ConnectionString:
    """Where the device is registered, as what, and its key."""

    iothub_hostname: str
    device_id: str
    key: bytes


def parse_connection_string(text: str) -> ConnectionString:
    """Parse a connection string; ValueError says what is wrong, without showing the key.

    Names are case-sensitive and unknown parts are ignored, as upstream does (azure-iot-edge 1.2).
    """
    parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    for name in _REQUIRED:
        if not parts.get(name):
            raise ValueError(f"required parameter {name!r} is missing")
    key = decode_key(parts["SharedAccessKey"])
    if key is None:
        raise ValueError("SharedAccessKey is not base64")
    return ConnectionString(parts["HostName"], parts["DeviceId"], key)


def decode_key(text: str) -> bytes | None:
    """Decode base64 with or without its padding; None if it is none, or empty."""
    try:
        key = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key or None
