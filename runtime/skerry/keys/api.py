"""The HTTP routes of keyd, both api-versions.

Only calls that name a key id are authorised; a handle is a capability by itself.
"""

import threading
from collections.abc import Mapping
from functools import lru_cache, partial

from skerry.base.fields import b64, octets, table, text
from skerry.base.guard import Guard
from skerry.base.http import Request, Response, Router
from skerry.base.log import Logger
from skerry.keys.errors import KeyFileError, ParameterError, TokenError, UnauthorizedError
from skerry.keys.handle import seal, unseal
from skerry.keys.material import FileKey, PairKey, SymmetricKey, public_parameter, used_for
from skerry.keys.model import (
    DerivedRef,
    KeyRef,
    PairRef,
    Settings,
    SymmetricRef,
    Use,
    check_id,
    choose_algorithm,
    parse_uses,
)
from skerry.keys.store import KeyStore

API_VERSIONS = ("2020-09-01", "2021-05-01")
HANDLE_KEY_ID = "handle-validation-key"
_KNOWN_HANDLES = 1024
_KNOWN_HANDLE_LENGTH = 2048
"""Good handles are remembered, but not such that would fill the memory."""


class KeysApi:
    """Answers the routes of keyd from one store."""

    def __init__(self, settings: Settings, store: KeyStore, log: Logger) -> None:
        self._settings = settings
        self._store = store
        self._log = log
        self._guarded = Guard(
            log,
            ParameterError,
            UnauthorizedError,
            (KeyFileError, TokenError, OSError),
            trouble="key store failed",
        )
        self._writing = threading.Lock()
        self._mac_key = store.own_key(HANDLE_KEY_ID)
        self._known_handle = lru_cache(_KNOWN_HANDLES)(partial(unseal, mac_key=self._mac_key))

    def router(self) -> Router:
        """Return the routes."""
        router = Router(API_VERSIONS)
        for method, path, handler in (
            ("POST", "/key", self._create_key),
            ("GET", "/key/{key_id}", self._load_key),
            ("DELETE", "/key", self._delete_key),
            ("POST", "/keypair", self._create_pair),
            ("GET", "/keypair/{key_id}", self._load_pair),
            ("POST", "/keypair/{key_id}", self._move_pair),
            ("DELETE", "/keypair", self._delete_pair),
            ("POST", "/parameters/{name}", self._parameter),
            ("POST", "/derivedkey", self._derive),
            ("POST", "/derivedkey/export", self._export),
            ("POST", "/sign", self._sign),
            ("POST", "/encrypt", self._encrypt),
            ("POST", "/decrypt", self._decrypt),
        ):
            router.add(method, path, self._guarded(handler))
        return router

    def _create_key(self, request: Request) -> Response:
        body = request.json_object()
        key_id = self._allowed(request, text(body, "keyId"))
        uses = parse_uses(text(body, "usage"))
        with self._writing:
            if body.get("keyBytes") is not None:
                self._store.put_symmetric(key_id, octets(body, "keyBytes"), uses)
                self._log.info("key imported", id=key_id, uid=request.peer.uid)
            elif not self._store.has(key_id):
                self._store.create_symmetric(key_id, uses)
                self._log.info("key made", id=key_id, uid=request.peer.uid)
        key = self._store.symmetric(key_id)
        for use in sorted(uses):
            used_for(key, use)
        return self._handle(SymmetricRef(key_id))

    def _load_key(self, request: Request, key_id: str) -> Response:
        self._store.symmetric(self._allowed(request, key_id))
        return self._handle(SymmetricRef(key_id))

    def _delete_key(self, request: Request) -> Response:
        ref = self._ref(request.json_object(), "keyHandle")
        if not isinstance(ref, SymmetricRef):
            raise ParameterError("the handle is not that of a symmetric key")
        with self._writing:
            self._store.delete(ref.key_id)
        self._log.info("key deleted", id=ref.key_id, uid=request.peer.uid)
        return Response.empty()

    def _create_pair(self, request: Request) -> Response:
        body = request.json_object()
        key_id = self._allowed(request, text(body, "keyId"))
        preferred = body.get("preferredAlgorithms")
        algorithm = choose_algorithm(preferred if isinstance(preferred, str) else None)
        with self._writing:
            if not self._store.has(key_id):
                self._store.create_pair(key_id, algorithm)
                self._log.info("key pair made", id=key_id, kind=algorithm, uid=request.peer.uid)
        self._store.pair(key_id)
        return self._handle(PairRef(key_id))

    def _load_pair(self, request: Request, key_id: str) -> Response:
        self._store.pair(self._allowed(request, key_id))
        return self._handle(PairRef(key_id))

    def _move_pair(self, request: Request, key_id: str) -> Response:
        source = self._allowed(request, text(request.json_object(), "from"))
        target = self._allowed(request, key_id)
        with self._writing:
            self._store.pair(source)
            self._store.move(source, target)
        self._log.info("key pair moved", source=source, target=target, uid=request.peer.uid)
        return Response.empty()

    def _delete_pair(self, request: Request) -> Response:
        ref = self._ref(request.json_object(), "keyHandle")
        if not isinstance(ref, PairRef):
            raise ParameterError("the handle is not that of a key pair")
        with self._writing:
            self._store.delete(ref.key_id)
        self._log.info("key deleted", id=ref.key_id, uid=request.peer.uid)
        return Response.empty()

    def _parameter(self, request: Request, name: str) -> Response:
        value = public_parameter(self._pair(request.json_object()).public(), name)
        return Response.json({"value": value})

    def _derive(self, request: Request) -> Response:
        body = request.json_object()
        base = self._ref(body, "baseKeyHandle")
        if not isinstance(base, SymmetricRef):
            raise ParameterError(
                "only a symmetric key that is not itself derived can be derived from"
            )
        used_for(self._store.symmetric(base.key_id), Use.DERIVE)
        return self._handle(DerivedRef(base, octets(body, "derivationData")))

    def _export(self, request: Request) -> Response:
        ref = self._ref(request.json_object(), "keyHandle")
        if not isinstance(ref, DerivedRef):
            raise ParameterError("only a derived key can be exported")
        return Response.json({"key": b64(self._derived(ref).data)})

    def _sign(self, request: Request) -> Response:
        body = request.json_object()
        algorithm = text(body, "algorithm")
        parameters = table(body, "parameters")
        if algorithm == "HMAC-SHA256":
            key = self._symmetric(body, Use.SIGN)
            signature = key.hmac(octets(parameters, "message"))
        elif algorithm == "ECDSA":
            signature = self._pair(body).sign_digest(octets(parameters, "digest"))
        else:
            raise ParameterError(
                f"algorithm {algorithm!r} is not known; expected HMAC-SHA256 or ECDSA"
            )
        return Response.json({"signature": b64(signature)})

    def _encrypt(self, request: Request) -> Response:
        body = request.json_object()
        algorithm = text(body, "algorithm")
        plaintext = octets(body, "plaintext")
        if algorithm == "AEAD":
            iv, aad = _aead(body)
            ciphertext = self._symmetric(body, Use.ENCRYPT).encrypt(iv, aad, plaintext)
        elif algorithm == "RSA-PKCS1":
            ciphertext = self._pair(body).sign_digest_info(plaintext)
        elif algorithm == "RSA-NO-PADDING":
            ciphertext = self._pair(body).sign_block(plaintext)
        else:
            raise ParameterError(
                f"algorithm {algorithm!r} is not known; expected AEAD, RSA-PKCS1 or RSA-NO-PADDING"
            )
        return Response.json({"ciphertext": b64(ciphertext)})

    def _decrypt(self, request: Request) -> Response:
        body = request.json_object()
        algorithm = text(body, "algorithm")
        if algorithm != "AEAD":
            raise ParameterError(f"algorithm {algorithm!r} is not known; expected AEAD")
        iv, aad = _aead(body)
        key = self._symmetric(body, Use.ENCRYPT)
        plaintext = key.decrypt(iv, aad, octets(body, "ciphertext"))
        return Response.json({"plaintext": b64(plaintext)})

    def _allowed(self, request: Request, key_id: str) -> str:
        self._settings.require(request.peer.uid, check_id(key_id))
        if key_id == HANDLE_KEY_ID:
            raise ParameterError(f"key {key_id!r} belongs to this service alone")
        return key_id

    def _ref(self, body: Mapping[str, object], name: str) -> KeyRef:
        handle = text(body, name)
        if len(handle) > _KNOWN_HANDLE_LENGTH:
            return unseal(handle, self._mac_key)
        return self._known_handle(handle)

    def _symmetric(self, body: Mapping[str, object], use: Use) -> SymmetricKey:
        match self._ref(body, "keyHandle"):
            case SymmetricRef(key_id):
                return used_for(self._store.symmetric(key_id), use)
            case DerivedRef() as derived:
                return self._derived(derived)
            case PairRef():
                raise ParameterError("the handle is that of a key pair, expected a symmetric key")

    def _derived(self, ref: DerivedRef) -> FileKey:
        return FileKey(used_for(self._store.symmetric(ref.base.key_id), Use.DERIVE).hmac(ref.data))

    def _pair(self, body: Mapping[str, object]) -> PairKey:
        ref = self._ref(body, "keyHandle")
        if not isinstance(ref, PairRef):
            raise ParameterError("the handle is that of a symmetric key, expected a key pair")
        return self._store.pair(ref.key_id)

    def _handle(self, ref: KeyRef) -> Response:
        return Response.json({"keyHandle": seal(ref, self._mac_key)})


def _aead(body: Mapping[str, object]) -> tuple[bytes, bytes]:
    parameters = table(body, "parameters")
    return octets(parameters, "iv"), octets(parameters, "aad")
