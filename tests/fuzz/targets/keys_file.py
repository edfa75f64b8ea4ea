"""Key files: whatever lies there is a key, or named as none."""

import functools
import logging
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from skerry.base.files import id_file_name
from skerry.base.log import Logger
from skerry.keys.envelope import Entry, Kind, dump
from skerry.keys.errors import KeysError
from skerry.keys.store import KeyStore

ALLOWED: tuple[type[Exception], ...] = ()
SEEDS = (
    b"raw key",
    dump(Entry(Kind.SYMMETRIC, b"k" * 32)),
    dump(Entry(Kind.TOKEN_SYMMETRIC, b"i" * 16)),
    dump(Entry(Kind.TOKEN_PAIR, b"i" * 16)),
    *(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for key in (
            ec.derive_private_key(4711, ec.SECP256R1()),
            ec.derive_private_key(4711, ec.SECP256K1()),
            rsa.generate_private_key(65537, 2048),
        )
    ),
)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def one(data: bytes) -> None:
    """Use the content as a symmetric key and as a pair, put there by keyd and by somebody else."""
    folder = Path(_folder().name)
    own = folder / "keys" / id_file_name("own", ".key")
    given = folder / "given"
    own.parent.mkdir(exist_ok=True)
    for path in (own, given):
        path.write_bytes(data)
    store = KeyStore(folder, {"given": given}, Logger(logging.getLogger("fuzz")))
    for key_id in ("own", "given"):
        try:
            store.symmetric(key_id).hmac(b"m")
        except KeysError as error:
            if len(data) > 8 and data.decode("latin-1") in str(error):
                raise AssertionError("the message holds the key") from error
        try:
            store.pair(key_id).public()
        except KeysError:
            continue
