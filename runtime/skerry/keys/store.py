"""The keys of one keyd by their ids, in files or in a PKCS#11 token.

Where a key is
- preloaded: where the settings say, file or object in a token; never made, changed or removed here;
- otherwise its file in keyd's folder decides: it holds the key, or the id of its object in the base
  token. So a move is one rename and an import one replacement, in a token too: objects are made
  before their file is written and destroyed after it is gone. A crash in between leaves an object
  that nothing names, never a key that is neither old nor new;
- without a file, an object of the base token that is labelled with the key's id (upstream's way).

New keys are made in the base token if there is one. A symmetric key that the token has no mechanism
for is made in a file, and the log says so, as upstream does.

Keys that were read are kept in memory until their file changes.
"""

from collections.abc import Mapping
from pathlib import Path
from secrets import token_bytes

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from skerry.base.log import Logger
from skerry.keys.crypto import CURVES, KeyPair
from skerry.keys.envelope import Entry, Kind
from skerry.keys.errors import KeyFileError, ParameterError
from skerry.keys.files import MAX_SYMMETRIC_BYTES, KeyFiles, Signature
from skerry.keys.material import FileKey, FilePair, PairKey, SymmetricKey
from skerry.keys.model import ALL_USES, PairAlgorithm, Use
from skerry.keys.pkcs11_uri import Pkcs11Uri
from skerry.keys.token import LABEL_PREFIX, Token, UnsupportedByTokenError
from skerry.keys.token_keys import TokenKey, TokenPair, Tokens

SYMMETRIC_BYTES = 32
_PUBLIC_EXPONENT = 65537
_RSA_BITS = {PairAlgorithm.RSA_2048: 2048, PairAlgorithm.RSA_4096: 4096}
_MAX_KEPT = 256


class KeyStore:
    """Makes, finds and removes keys."""

    def __init__(
        self,
        state_dir: Path,
        preloaded: Mapping[str, Path | Pkcs11Uri],
        log: Logger,
        tokens: Tokens | None = None,
        base_slot: Pkcs11Uri | None = None,
    ) -> None:
        in_files = {k: v for k, v in preloaded.items() if isinstance(v, Path)}
        self._files = KeyFiles(state_dir, in_files)
        self._in_tokens = {k: v for k, v in preloaded.items() if isinstance(v, Pkcs11Uri)}
        self._log = log
        self._tokens = tokens
        self._base_slot = base_slot
        self._kept: dict[tuple[str, bool], tuple[Signature | None, SymmetricKey | PairKey]] = {}

    def has(self, key_id: str) -> bool:
        """Tell whether there is a key of either kind under an id."""
        if key_id in self._in_tokens or self._files.has(key_id):
            return True
        return any(self._labelled(key_id, name) for name in ("PRIVATE_KEY", "SECRET_KEY"))

    def symmetric(self, key_id: str) -> SymmetricKey:
        """Return a symmetric key; raises ParameterError when there is none."""
        signature = self._files.signature(key_id)
        known, key = self._kept.get((key_id, True), (None, None))
        if signature is None or signature != known or key is None:
            key = self._find_symmetric(key_id)
            self._keep((key_id, True), signature, key)
        return key  # type: ignore[return-value]  # True marks the symmetric ones

    def pair(self, key_id: str) -> PairKey:
        """Return a key pair; raises ParameterError when there is none."""
        signature = self._files.signature(key_id)
        known, key = self._kept.get((key_id, False), (None, None))
        if signature is None or signature != known or key is None:
            key = self._find_pair(key_id)
            self._keep((key_id, False), signature, key)
        return key  # type: ignore[return-value]  # False marks the pairs

    def own_key(self, key_id: str) -> bytes:
        """Return the bytes of a key that is keyd's own, made in a file if there is none."""
        if not self._files.has(key_id):
            self._files.write(key_id, Entry(Kind.SYMMETRIC, token_bytes(SYMMETRIC_BYTES)))
        entry = self._files.read(key_id)
        if not isinstance(entry, Entry) or entry.kind not in (Kind.SYMMETRIC, Kind.RAW):
            raise KeyFileError(f"key file {self._files.path(key_id)} is not this service's own key")
        return entry.data

    def create_symmetric(self, key_id: str, uses: frozenset[Use] = ALL_USES) -> None:
        """Make a symmetric key of random bytes."""
        self._refuse_preloaded(key_id)
        object_id = self._in_token(key_id, uses, None)
        if object_id is None:
            entry = Entry(Kind.SYMMETRIC, token_bytes(SYMMETRIC_BYTES), uses)
        else:
            entry = Entry(Kind.TOKEN_SYMMETRIC, object_id, uses)
        self._replace(key_id, entry)

    def put_symmetric(self, key_id: str, data: bytes, uses: frozenset[Use] = ALL_USES) -> None:
        """Store a symmetric key, replacing one of the same id."""
        self._refuse_preloaded(key_id)
        if not data or len(data) > MAX_SYMMETRIC_BYTES:
            raise ParameterError(
                f"the key has {len(data)} bytes, expected 1 to {MAX_SYMMETRIC_BYTES}"
            )
        object_id = self._in_token(key_id, uses, data)
        if object_id is None:
            entry = Entry(Kind.SYMMETRIC, data, uses)
        else:
            entry = Entry(Kind.TOKEN_SYMMETRIC, object_id, uses)
        self._replace(key_id, entry)

    def create_pair(self, key_id: str, algorithm: PairAlgorithm) -> None:
        """Generate and store a key pair."""
        self._refuse_preloaded(key_id)
        token = self._base_token()
        if token is not None:
            self._replace(key_id, Entry(Kind.TOKEN_PAIR, token.create_pair(key_id, algorithm)))
            return
        data = _generate(algorithm).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self._replace(key_id, Entry(Kind.PAIR, data))

    def move(self, source: str, target: str) -> None:
        """Give a key another id, replacing what was there."""
        self._refuse_preloaded(source)
        self._refuse_preloaded(target)
        if not self._files.has(source):
            raise ParameterError(f"there is no key {source!r} of this service's making")
        old = self._object_of(target)
        self._files.move(source, target)
        self._forget(source, target)
        self._destroy(old)

    def delete(self, key_id: str) -> None:
        """Remove a key; removing one that is gone already is no error."""
        self._refuse_preloaded(key_id)
        if self._files.has(key_id):
            old = self._object_of(key_id)
        else:
            found = self._labelled(key_id, "PRIVATE_KEY") or self._labelled(key_id, "SECRET_KEY")
            old = found and found[1]
        self._files.delete(key_id)
        self._forget(key_id)
        self._destroy(old)

    def _replace(self, key_id: str, entry: Entry) -> None:
        old = self._object_of(key_id)
        try:
            self._files.write(key_id, entry)
        except KeyFileError:
            if entry.kind in (Kind.TOKEN_SYMMETRIC, Kind.TOKEN_PAIR):
                self._destroy(entry.data)
            raise
        self._forget(key_id)
        self._destroy(old)

    def _find_symmetric(self, key_id: str) -> SymmetricKey:
        if (uri := self._in_tokens.get(key_id)) is not None:
            return TokenKey(*self._preloaded_object(key_id, uri, "SECRET_KEY"))
        if not self._files.has(key_id) and (found := self._labelled(key_id, "SECRET_KEY")):
            return TokenKey(*found)
        entry = self._files.read(key_id)
        if isinstance(entry, bytes):
            if len(entry) > MAX_SYMMETRIC_BYTES:
                raise KeyFileError(
                    f"key file {self._files.path(key_id)} has {len(entry)} bytes, expected at most "
                    f"{MAX_SYMMETRIC_BYTES}"
                )
            return FileKey(entry)
        if entry.kind in (Kind.SYMMETRIC, Kind.RAW):
            return FileKey(entry.data, entry.uses)
        if entry.kind is Kind.TOKEN_SYMMETRIC:
            return TokenKey(self._token_of(key_id), entry.data, entry.uses)
        raise ParameterError(f"key {key_id!r} is a key pair, expected a symmetric key")

    def _find_pair(self, key_id: str) -> PairKey:
        if (uri := self._in_tokens.get(key_id)) is not None:
            return TokenPair(*self._preloaded_object(key_id, uri, "PRIVATE_KEY"))
        if not self._files.has(key_id) and (found := self._labelled(key_id, "PRIVATE_KEY")):
            return TokenPair(*found)
        entry = self._files.read(key_id)
        if isinstance(entry, Entry) and entry.kind is Kind.TOKEN_PAIR:
            return TokenPair(self._token_of(key_id), entry.data)
        if isinstance(entry, Entry) and entry.kind in (Kind.SYMMETRIC, Kind.TOKEN_SYMMETRIC):
            raise ParameterError(f"key {key_id!r} is a symmetric key, expected a key pair")
        data = entry if isinstance(entry, bytes) else entry.data
        return FilePair(_load_pair(data, self._files.path(key_id)))

    def _in_token(self, key_id: str, uses: frozenset[Use], data: bytes | None) -> bytes | None:
        """Make a symmetric key in the base token; None when it has to be a file."""
        token = self._base_token()
        if token is None:
            return None
        try:
            return token.create_symmetric(key_id, uses, data)
        except UnsupportedByTokenError as error:
            self._log.warning("key is kept in a file", id=key_id, reason=error)
            return None

    def _base_token(self) -> Token | None:
        if self._base_slot is None or self._tokens is None:
            return None
        return self._tokens.at(self._base_slot)

    def _token_of(self, key_id: str) -> Token:
        token = self._base_token()
        if token is None:
            raise KeyFileError(
                f"key {key_id!r} is in a PKCS#11 token, and the settings name none; restore "
                "aziot_keys.pkcs11_base_slot"
            )
        return token

    def _labelled(self, key_id: str, class_name: str) -> tuple[Token, bytes] | None:
        """Find an object that somebody else has labelled with a key's id."""
        token = self._base_token()
        if token is None or key_id.startswith(LABEL_PREFIX):
            return None
        object_id = token.find_id(Pkcs11Uri(label=key_id), class_name)
        return None if object_id is None else (token, object_id)

    def _preloaded_object(self, key_id: str, uri: Pkcs11Uri, name: str) -> tuple[Token, bytes]:
        if self._tokens is None:
            raise KeyFileError(f"key {key_id!r} is in a token, and the settings name no library")
        token = self._tokens.at(uri)
        object_id = token.find_id(uri, name)
        if object_id is None:
            what = "key pair" if name == "PRIVATE_KEY" else "symmetric key"
            raise ParameterError(f"there is no {what} {key_id!r}: no object {uri.describe()}")
        return token, object_id

    def _object_of(self, key_id: str) -> bytes | None:
        """Return the id of the object that a key's file names."""
        try:
            entry = self._files.read(key_id)
        except (ParameterError, KeyFileError):
            return None
        if isinstance(entry, Entry) and entry.kind in (Kind.TOKEN_SYMMETRIC, Kind.TOKEN_PAIR):
            return entry.data
        return None

    def _destroy(self, object_id: bytes | None) -> None:
        token = self._base_token()
        if token is not None and object_id is not None:
            token.destroy(object_id)

    def _refuse_preloaded(self, key_id: str) -> None:
        uri = self._in_tokens.get(key_id)
        if uri is not None:
            raise ParameterError(
                f"key {key_id!r} is preloaded from {uri.describe()} and not changed here"
            )

    def _keep(
        self, name: tuple[str, bool], signature: Signature | None, key: SymmetricKey | PairKey
    ) -> None:
        if len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        if signature is not None:
            self._kept[name] = (signature, key)

    def _forget(self, *key_ids: str) -> None:
        for key_id in key_ids:
            for symmetric in (True, False):
                self._kept.pop((key_id, symmetric), None)


def _load_pair(data: bytes, path: Path) -> KeyPair:
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            f"key file {path} does not hold a private key in PEM without a password; restore it or "
            "remove it"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise KeyFileError(f"key file {path} is neither an EC nor an RSA key")
    if isinstance(key, ec.EllipticCurvePrivateKey) and type(key.curve) not in CURVES.values():
        raise KeyFileError(
            f"key file {path} is on curve {key.curve.name}, expected P-256, P-384 or P-521"
        )
    return key


def _generate(algorithm: PairAlgorithm) -> KeyPair:
    if algorithm is PairAlgorithm.EC_P256:
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(_PUBLIC_EXPONENT, _RSA_BITS[algorithm])
