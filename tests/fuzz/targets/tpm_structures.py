"""Structures of a TPM: parsed and written again as they were, or refused."""

from skerry.tpm.sealing import Sealed, parse_sealed
from skerry.wire.tpm import (
    ENDORSEMENT_TEMPLATE,
    Attributes,
    HmacParameters,
    ImportBlob,
    Public,
    TpmDataError,
    parse_import_blob,
    parse_public,
    sized,
)

ALLOWED = (TpmDataError,)
_KEY = Public(Attributes.SIGN, HmacParameters(), b"u" * 32)
SEEDS = (
    ENDORSEMENT_TEMPLATE.marshal(),
    _KEY.marshal(),
    ImportBlob(b"c" * 66, b"s" * 256, b"d" * 100, b"e" * 256, _KEY).marshal(),
    Sealed({7: b"7" * 32, 11: b"b" * 32}, _KEY.marshal(), sized(b"private")).marshal(),
)


def one(data: bytes) -> None:
    """Whatever a parser accepts, it gives back byte for byte; the last refusal is let out."""
    refused: list[TpmDataError] = []
    for parse in (parse_public, parse_import_blob, parse_sealed):
        try:
            found = parse(data)
        except TpmDataError as error:
            refused.append(error)
            continue
        if found.marshal() != data:
            raise AssertionError(f"{parse.__name__} changed what it read")
    if refused:
        raise refused[-1]
