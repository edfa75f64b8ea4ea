"""Key handles: nothing that keyd did not make is accepted."""

from skerry.keys.errors import KeysError
from skerry.keys.handle import seal, unseal
from skerry.keys.model import DerivedRef, PairRef, SymmetricRef

_MAC_KEY = b"k" * 32
_REFS = (SymmetricRef("a"), PairRef("b"), DerivedRef(SymmetricRef("a"), b"data"))
_HANDLES = {seal(ref, _MAC_KEY, bytes): ref for ref in _REFS}

ALLOWED = (KeysError,)
SEEDS = tuple(handle.encode() for handle in _HANDLES)


def one(data: bytes) -> None:
    """Unseal a handle; only the content of one that was made may come out."""
    ref = unseal(data.decode("utf-8", "replace"), _MAC_KEY)
    if ref not in _REFS:
        raise AssertionError(f"a handle was made up: {ref!r}")
