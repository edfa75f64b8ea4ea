"""Fields of a JSON body, checked: a missing or wrong one is the caller's mistake (422)."""

import base64
import binascii
from collections.abc import Mapping

from skerry.base.http import HttpError


def text(body: Mapping[str, object], name: str) -> str:
    """Return a string field."""
    value = body.get(name)
    if not isinstance(value, str):
        raise HttpError(422, f"{name} is missing or not a string")
    return value


def table(body: Mapping[str, object], name: str) -> dict[str, object]:
    """Return an object field."""
    value = body.get(name)
    if not isinstance(value, dict):
        raise HttpError(422, f"{name} is missing or not an object")
    return value


def octets(body: Mapping[str, object], name: str) -> bytes:
    """Return the bytes of a base64 field."""
    try:
        return base64.b64decode(text(body, name), validate=True)
    except (binascii.Error, ValueError) as error:
        raise HttpError(422, f"{name} is not base64") from error


def b64(data: bytes) -> str:
    """Return bytes as a base64 field carries them."""
    return base64.b64encode(data).decode("ascii")
