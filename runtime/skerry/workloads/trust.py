"""Which images need a signature, and whether one holds.

A signature comes with the module, so it is judged without a network: cosign's payload (JSON, which
names the digest of the manifest) and the signature of those bytes, both in base64. The engine keeps
the promise of the digest; this part sees that a trusted key has signed it.
"""

import base64
import binascii
import fnmatch
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from skerry.base.public_key import has_signed
from skerry.workloads.errors import UntrustedImageError

_DIGEST = re.compile(r"@(sha256:[0-9a-f]{64})$")
_HUB = "docker.io"


@dataclass(frozen=True)
class Signature:
    """A signature of an image's digest, in base64 as cosign writes both."""

    payload: str
    signature: str


@dataclass(frozen=True)
class Rule:
    """Images whose whole name fits a shell pattern need a signature by one of the keys (PEM)."""

    images: str
    keys: tuple[str, ...]


def check(image: str, signatures: Sequence[Signature], rules: Sequence[Rule]) -> None:
    """Raise UntrustedImageError unless the first rule for the image, if any, is fulfilled."""
    rule = next((r for r in rules if fnmatch.fnmatchcase(whole_name(image), r.images)), None)
    if rule is None:
        return
    pinned = _DIGEST.search(image)
    if pinned is None:
        raise UntrustedImageError(
            f"image {image!r} needs a signature ([[image_trust]] {rule.images!r}), and so its "
            "digest: name it NAME@sha256:…"
        )
    if not signatures:
        raise UntrustedImageError(
            f"image {image!r} has no signature, expected one by a key of [[image_trust]] "
            f"{rule.images!r}: cosign sign --output-payload … --output-signature …"
        )
    reasons = [_fault(one, pinned[1], rule.keys) for one in signatures]
    if all(reasons):
        raise UntrustedImageError(f"image {image!r}: {reasons[0]}")


def whole_name(image: str) -> str:
    """Return a reference with its registry, as the engine completes it."""
    first, slash, _ = image.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        return image
    return f"{_HUB}/{image}" if slash else f"{_HUB}/library/{image}"


def _fault(one: Signature, digest: str, keys: Sequence[str]) -> str:
    """Return why a signature does not do, empty when it does."""
    try:
        payload = base64.b64decode(one.payload, validate=True)
        signature = base64.b64decode(one.signature, validate=True)
        signed = json.loads(payload)["critical"]["image"]["docker-manifest-digest"]
    except (binascii.Error, ValueError, KeyError, TypeError):
        return "its signature is not one of cosign's: payload and signature in base64"
    if not any(has_signed(key, payload, signature) for key in keys):
        return "its signature is by none of the trusted keys"
    # judged after the key: what an unknown person signed is no news
    return "" if signed == digest else f"its signature is of another image, {signed!r}"
