"""Key handles: what a caller holds instead of a key.

A handle is a bearer capability, `sr=<base64 of JSON>&sig=<base64 of HMAC-SHA256>`; the HMAC key
never leaves keyd, so a handle cannot be made up or changed. Whoever has a handle has passed the
check of its key id once.
"""

import base64
import binascii
import hmac
import json
import secrets
from collections.abc import Callable
from urllib.parse import parse_qs, quote

from skerry.keys.errors import ParameterError
from skerry.keys.model import DerivedRef, KeyRef, PairRef, SymmetricRef

_NONCE_BYTES = 64


def seal(ref: KeyRef, mac_key: bytes, nonce: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Return a handle for a key."""
    token = json.dumps(
        {"key_id": _encode(ref), "nonce": _b64(nonce(_NONCE_BYTES))}, separators=(",", ":")
    ).encode()
    signature = hmac.digest(mac_key, token, "sha256")
    return f"sr={quote(_b64(token), safe='')}&sig={quote(_b64(signature), safe='')}"


def unseal(handle: str, mac_key: bytes) -> KeyRef:
    """Return what a handle stands for; raises ParameterError if keyd did not make it."""
    try:
        fields = parse_qs(handle, strict_parsing=True, max_num_fields=2)
        token = base64.b64decode(fields["sr"][0], validate=True)
        signature = base64.b64decode(fields["sig"][0], validate=True)
    except (ValueError, KeyError, binascii.Error) as error:
        raise ParameterError(
            "the key handle is not one of this service; ask for a new one"
        ) from error
    if not hmac.compare_digest(signature, hmac.digest(mac_key, token, "sha256")):
        raise ParameterError("the key handle is not one of this service; ask for a new one")
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


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
