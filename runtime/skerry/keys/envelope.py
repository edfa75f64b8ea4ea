"""The content of a key file that keyd wrote: what the key may do, a checksum, and the key.

    SKERRY-KEY 1 <kind> <uses or -> <sha256 of what follows the line>\\n
    <bytes of a symmetric key | id of an object in the PKCS#11 token>

A key pair in a file is PKCS#8 in PEM and has no such line. Bytes without it are a symmetric key for
every use: that is what upstream and the first Skerry wrote.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from enum import StrEnum

from skerry.keys.errors import KeysError
from skerry.keys.model import ALL_USES, Use

_LINE = re.compile(rb"SKERRY-KEY 1 ([a-z-]+) ([a-z,]+|-) ([0-9a-f]{64})\n")
_MAGIC = b"SKERRY-KEY "
_PEM = b"-----BEGIN "


class EnvelopeError(KeysError):
    """A file that was cut or changed."""


class Kind(StrEnum):
    """What a key file holds."""

    RAW = "raw"
    SYMMETRIC = "symmetric"
    PAIR = "pair"
    TOKEN_SYMMETRIC = "token-symmetric"  # noqa: S105 - a kind of file
    TOKEN_PAIR = "token-pair"  # noqa: S105 - a kind of file


@dataclass(frozen=True)
class Entry:
    """A key file's content; `data` is private for all but the kinds of tokens."""

    kind: Kind
    data: bytes = field(repr=False)
    uses: frozenset[Use] = ALL_USES


def dump(entry: Entry) -> bytes:
    """Return the content of a key file."""
    if entry.kind in (Kind.PAIR, Kind.RAW):
        return entry.data
    uses = ",".join(sorted(entry.uses)) or "-"
    digest = hashlib.sha256(entry.data).hexdigest()
    return f"SKERRY-KEY 1 {entry.kind} {uses} {digest}\n".encode() + entry.data


def load(content: bytes) -> Entry:
    """Return what a key file of keyd's own folder holds; raises EnvelopeError."""
    if not content:
        raise EnvelopeError("is empty")
    if content.startswith(_PEM):
        return Entry(Kind.PAIR, content)
    if not content.startswith(_MAGIC):
        return Entry(Kind.RAW, content)
    line = _LINE.match(content)
    if line is None:
        raise EnvelopeError("has a first line that this version does not know")
    data = content[line.end() :]
    digest = hashlib.sha256(data).hexdigest().encode()
    if not data or not hmac.compare_digest(digest, line[3]):
        raise EnvelopeError("is cut or changed: its checksum does not match")
    try:
        kind = Kind(line[1].decode())
        uses = frozenset(Use(word) for word in line[2].decode().split(",") if word != "-")
    except ValueError as error:
        raise EnvelopeError("has a first line that this version does not know") from error
    if kind in (Kind.PAIR, Kind.RAW):
        raise EnvelopeError("has a first line that this version does not know")
    return Entry(kind, data, uses)
