"""The HTTP routes of keyd, both api-versions.

Only calls that name a key id are authorised; a handle is a capability by itself.
"""

import secrets
import threading
from collections.abc import Mapping

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from skerry.base.fields import b64, octets, table, text
from skerry.base.guard import Guard
from skerry.base.http import Request, Response, Router
from skerry.base.log import Logger
from skerry.keys import crypto
from skerry.keys.blocks import sign_block
from skerry.keys.crypto import KeyPair
from skerry.keys.errors import KeyFileError, ParameterError, UnauthorizedError
from skerry.keys.handle import seal, unseal
from skerry.keys.model import (
    DerivedRef,
    KeyRef,
    PairRef,
    Settings,
    SymmetricRef,
    check_id,
    check_usage,
    choose_algorithm,
)
from skerry.keys.store import SYMMETRIC_BYTES, KeyStore

API_VERSIONS = ("2020-09-01", "2021-05-01")
HANDLE_KEY_ID = "handle-validation-key"


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
            (KeyFileError, OSError),
            trouble="key store failed",
        )
        self._writing = threading.Lock()
        if not store.has(HANDLE_KEY_ID):
            store.put_symmetric(HANDLE_KEY_ID, secrets.token_bytes(SYMMETRIC_BYTES))
        self._mac_key = store.symmetric(HANDLE_KEY_ID)

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
        check_usage(text(body, "usage"))
        with self._writing:
            if body.get("keyBytes") is not None:
                self._store.put_symmetric(key_id, octets(body, "keyBytes"))
                self._log.info("key imported", id=key_id, uid=request.peer.uid)
            elif not self._store.has(key_id):
                self._store.put_symmetric(key_id, secrets.token_bytes(SYMMETRIC_BYTES))
                self._log.info("key made", id=key_id, uid=request.peer.uid)
        self._store.symmetric(key_id)
        return self._handle(SymmetricRef(key_id))

    def _load_key(self, request: Request, key_id: str) -> Response:
        self._store.symmetric(self._allowed(request, key_id))
        return self._handle(SymmetricRef(key_id))

    def _delete_key(self, request: Request) -> Response:
        ref = self._ref(request.json_object(), "keyHandle")
        if not isinstance(ref, SymmetricRef):
            raise ParameterError("the handle is not that of a symmetric key")
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
        self._store.delete(ref.key_id)
        self._log.info("key deleted", id=ref.key_id, uid=request.peer.uid)
        return Response.empty()

    def _parameter(self, request: Request, name: str) -> Response:
        value = public_parameter(self._pair(request.json_object()), name)
        return Response.json({"value": value})

    def _derive(self, request: Request) -> Response:
        body = request.json_object()
        base = self._ref(body, "baseKeyHandle")
        if not isinstance(base, SymmetricRef):
            raise ParameterError(
                "only a symmetric key that is not itself derived can be derived from"
            )
        return self._handle(DerivedRef(base, octets(body, "derivationData")))

    def _export(self, request: Request) -> Response:
        ref = self._ref(request.json_object(), "keyHandle")
        if not isinstance(ref, DerivedRef):
            raise ParameterError("only a derived key can be exported")
        return Response.json({"key": b64(self._symmetric(ref))})

    def _sign(self, request: Request) -> Response:
        body = request.json_object()
        algorithm = text(body, "algorithm")
        parameters = table(body, "parameters")
        if algorithm == "HMAC-SHA256":
            key = self._symmetric(self._ref(body, "keyHandle"))
            signature = crypto.hmac_sha256(key, octets(parameters, "message"))
        elif algorithm == "ECDSA":
            signature = crypto.sign_digest(self._pair(body), octets(parameters, "digest"))
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
            key = self._symmetric(self._ref(body, "keyHandle"))
            ciphertext = crypto.encrypt(key, iv, aad, plaintext)
        elif algorithm == "RSA-PKCS1":
            ciphertext = crypto.sign_digest_info(self._pair(body), plaintext)
        elif algorithm == "RSA-NO-PADDING":
            ciphertext = sign_block(self._pair(body), plaintext)
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
        key = self._symmetric(self._ref(body, "keyHandle"))
        plaintext = crypto.decrypt(key, iv, aad, octets(body, "ciphertext"))
        return Response.json({"plaintext": b64(plaintext)})

    def _allowed(self, request: Request, key_id: str) -> str:
        self._settings.require(request.peer.uid, check_id(key_id))
        if key_id == HANDLE_KEY_ID:
            raise ParameterError(f"key {key_id!r} belongs to this service alone")
        return key_id

    def _ref(self, body: Mapping[str, object], name: str) -> KeyRef:
        return unseal(text(body, name), self._mac_key)

    def _symmetric(self, ref: KeyRef) -> bytes:
        match ref:
            case SymmetricRef(key_id):
                return self._store.symmetric(key_id)
            case DerivedRef(base, data):
                return crypto.hmac_sha256(self._store.symmetric(base.key_id), data)
            case PairRef():
                raise ParameterError("the handle is that of a key pair, expected a symmetric key")

    def _pair(self, body: Mapping[str, object]) -> KeyPair:
        ref = self._ref(body, "keyHandle")
        if not isinstance(ref, PairRef):
            raise ParameterError("the handle is that of a symmetric key, expected a key pair")
        return self._store.pair(ref.key_id)

    def _handle(self, ref: KeyRef) -> Response:
        return Response.json({"keyHandle": seal(ref, self._mac_key)})


def public_parameter(pair: KeyPair, name: str) -> str:
    """Return a public parameter of a key pair as the API spells it; raises ParameterError."""
    if name == "algorithm":
        return "RSA" if isinstance(pair, rsa.RSAPrivateKey) else "ECDSA"
    if isinstance(pair, rsa.RSAPrivateKey):
        numbers = pair.public_key().public_numbers()
        values = {"rsa-modulus": numbers.n, "rsa-exponent": numbers.e}
        if name in values:
            number = values[name]
            return b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))
    elif name == "ec-curve-oid":
        return b64(crypto.curve_oid(pair))
    elif name == "ec-point":
        point = pair.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return b64(point)
    raise ParameterError(f"parameter {name!r} is not one of this kind of key pair")


def _aead(body: Mapping[str, object]) -> tuple[bytes, bytes]:
    parameters = table(body, "parameters")
    return octets(parameters, "iv"), octets(parameters, "aad")
