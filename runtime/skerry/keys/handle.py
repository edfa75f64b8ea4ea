"""Key handles: what a caller holds instead of a key.

A handle is a bearer capability, `sr=<base64 of JSON>&sig=<base64 of HMAC-SHA256>`; the HMAC key
never leaves keyd, so a handle cannot be made up or changed. Whoever has a handle has passed the
check of its key id once.
"""

import base64
import hmac
import json
import re
import secrets
from collections.abc import Callable
from urllib.parse import quote, unquote

from skerry.keys.errors import ParameterError
from skerry.keys.model import DerivedRef, KeyRef, PairRef, SymmetricRef

_NONCE_BYTES = 64
_NOT_OURS = "the key handle is not one of this service; ask for a new one"
_FIELDS = re.compile(r"sr=([^&=]+)&sig=([^&=]+)")


def seal(ref: KeyRef, mac_key: bytes, nonce: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Return a handle for a key."""
    token = json.dumps(
        {"key_id": _encode(ref), "nonce": _b64(nonce(_NONCE_BYTES))}, separators=(",", ":")
    ).encode()
    signature = hmac.digest(mac_key, token, "sha256")
    return _text(token, signature)


def unseal(handle: str, mac_key: bytes) -> KeyRef:
    """Return what a handle stands for; raises ParameterError if keyd did not make it."""
    fields = _FIELDS.fullmatch(handle)
    if fields is None:
        raise ParameterError(_NOT_OURS)
    try:
        token, signature = (
            base64.b64decode(unquote(part), validate=True) for part in fields.groups()
        )
    except ValueError as error:
        raise ParameterError(_NOT_OURS) from error
    good = hmac.compare_digest(signature, hmac.digest(mac_key, token, "sha256"))
    # base64 has several spellings of some bytes; there is one handle
    if not good or handle != _text(token, signature):
        raise ParameterError(_NOT_OURS)
    return _decode(json.loads(token)["key_id"])


def _encode(ref: KeyRef) -> dict[str, object]:
    match ref:
        case SymmetricRef(key_id):
            return {"Key": key_id}
        case PairRef(key_id):
            return {"KeyPair": key_id}
        case DerivedRef(base, data):
            return {"Derived": [base.key_id, _b64(data)]}


def _decode(value: dict[str, object]) -> KeyRef:
    match value:
        case {"Key": str(key_id)}:
            return SymmetricRef(key_id)
        case {"KeyPair": str(key_id)}:
            return PairRef(key_id)
        case {"Derived": [str(key_id), str(data)]}:
            return DerivedRef(SymmetricRef(key_id), base64.b64decode(data))
    raise ParameterError("the key handle is of a kind that this version does not know")


def _text(token: bytes, signature: bytes) -> str:
    return f"sr={quote(_b64(token), safe='')}&sig={quote(_b64(signature), safe='')}"


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
