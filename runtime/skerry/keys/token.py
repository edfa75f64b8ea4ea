"""Keys in a PKCS#11 token: the private half never leaves it.

python-pkcs11 is imported when a token is first used, so a keyd without one never loads it; what is
used of it exists in 0.7 (Debian 13) and later. Sessions are not for several threads: one session
per token, behind a lock. A session that was lost (token pulled, card reset) is opened once more.
After a refused PIN no further attempt is made until keyd starts again: three wrong ones lock a
token.

A symmetric key is up to two objects of one id: a generic secret for `derive` and `sign`, an AES-256
key for `encrypt`. Objects made here are labelled `skerry:<key id>` for people; keyd finds them by
their random id, which its key file holds.
"""

import ctypes
import secrets
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils

from skerry.base.log import Secret
from skerry.keys import crypto
from skerry.keys.errors import ParameterError, TokenError
from skerry.keys.model import PairAlgorithm, Use
from skerry.keys.pkcs11_uri import Pkcs11Uri

LABEL_PREFIX = "skerry:"
_ID_BYTES = 16
_RSA_BITS = {PairAlgorithm.RSA_2048: 2048, PairAlgorithm.RSA_4096: 4096}
_EC_P256_DER = bytes.fromhex("06082a8648ce3d030107")
_LOST = (
    "SessionHandleInvalid", "SessionClosed", "UserNotLoggedIn", "DeviceRemoved", "DeviceError",
    "TokenNotPresent", "ObjectHandleInvalid", "KeyHandleInvalid",
)  # fmt: skip
_BAD_PIN = ("PinIncorrect", "PinLocked", "PinExpired", "PinInvalid", "PinLenRange")
_UNABLE = (
    "MechanismInvalid", "FunctionNotSupported", "TemplateInconsistent", "AttributeTypeInvalid",
    "AttributeValueInvalid", "KeySizeRange", "DomainParamsInvalid",
)  # fmt: skip
_BAD_DATA = ("EncryptedDataInvalid", "EncryptedDataLenRange", "DataInvalid", "DataLenRange")

T = TypeVar("T")


class UnsupportedByTokenError(TokenError):
    """The token has no such kind of key."""


class Token:
    """One token; `uri` names it and its PIN."""

    def __init__(self, library: str, uri: Pkcs11Uri) -> None:
        self._library = library
        self._uri = uri
        self._lock = threading.Lock()
        self._session: Any = None
        self._objects: dict[tuple[object, ...], Any] = {}
        self._publics: dict[bytes, crypto.PublicKey] = {}
        self._refused_pin = ""

    def find_id(self, uri: Pkcs11Uri, class_name: str) -> bytes | None:
        """Return the id of the object of a class that a URI names, None when there is none.

        Raises TokenError also when the URI names several.
        """

        def find(pkcs11: ModuleType, session: Any) -> bytes | None:
            attribute = pkcs11.Attribute
            wanted = {attribute.CLASS: getattr(pkcs11.ObjectClass, class_name)}
            if uri.label is not None:
                wanted[attribute.LABEL] = uri.label
            if uri.object_id is not None:
                wanted[attribute.ID] = uri.object_id
            found = {bytes(one[attribute.ID]) for one in session.get_objects(wanted)}
            if len(found) > 1:
                raise TokenError(f"{uri.describe()} names {len(found)} objects; add its id")
            return found.pop() if found else None

        return self._use(find)

    def create_symmetric(self, key_id: str, uses: frozenset[Use], data: bytes | None) -> bytes:
        """Make, or import, a symmetric key; returns its object id.

        Imported bytes that are no AES-256 key are for HMAC alone; raises UnsupportedByTokenError
        if that leaves nothing.
        """
        object_id = secrets.token_bytes(_ID_BYTES)
        if data is not None and len(data) != crypto.AES_BYTES:
            uses = uses - {Use.ENCRYPT}
        if not uses:
            raise UnsupportedByTokenError(f"{crypto.AES_BYTES} bytes are needed to encrypt")

        def create(pkcs11: ModuleType, session: Any) -> None:
            _require_mechanisms(pkcs11, session, uses)
            common = {
                pkcs11.Attribute.TOKEN: True,
                pkcs11.Attribute.PRIVATE: True,
                pkcs11.Attribute.SENSITIVE: True,
                pkcs11.Attribute.EXTRACTABLE: False,
                pkcs11.Attribute.ID: object_id,
                pkcs11.Attribute.LABEL: LABEL_PREFIX + key_id,
                pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY,
            }
            for kind, able in _secret_kinds(pkcs11, uses):
                template = {**common, pkcs11.Attribute.KEY_TYPE: kind, **able}
                if data is not None:
                    session.create_object({**template, pkcs11.Attribute.VALUE: data})
                else:
                    _generate_secret(pkcs11, session, kind, template)

        self._create(object_id, create)
        return object_id

    def create_pair(self, key_id: str, algorithm: PairAlgorithm) -> bytes:
        """Generate a key pair in the token; returns its object id."""
        object_id = secrets.token_bytes(_ID_BYTES)

        def create(pkcs11: ModuleType, session: Any) -> None:
            attribute, able = pkcs11.Attribute, pkcs11.MechanismFlag
            options = {
                "id": object_id,
                "label": LABEL_PREFIX + key_id,
                "store": True,
                "capabilities": able.SIGN | able.VERIFY,
                "private_template": {attribute.SENSITIVE: True, attribute.EXTRACTABLE: False},
            }
            if algorithm is PairAlgorithm.EC_P256:
                curve = {attribute.EC_PARAMS: _EC_P256_DER}
                maker = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
                maker.generate_keypair(**options)
            else:
                session.generate_keypair(pkcs11.KeyType.RSA, _RSA_BITS[algorithm], **options)

        self._create(object_id, create)
        return object_id

    def destroy(self, object_id: bytes) -> None:
        """Destroy all objects of an id; none is no error."""

        def destroy(pkcs11: ModuleType, session: Any) -> None:
            for found in list(session.get_objects({pkcs11.Attribute.ID: object_id})):
                found.destroy()
            self._objects.clear()
            self._publics.pop(object_id, None)

        self._use(destroy)

    def public(self, object_id: bytes) -> crypto.PublicKey:
        """Return the public half of a key pair."""

        def read(pkcs11: ModuleType, session: Any) -> crypto.PublicKey:
            known = self._publics.get(object_id)
            if known is None:
                known = self._publics[object_id] = look(pkcs11, session)
            return known

        def look(pkcs11: ModuleType, session: Any) -> crypto.PublicKey:
            attribute = pkcs11.Attribute
            private = self._object(pkcs11, session, object_id, "PRIVATE_KEY", None)
            if private.key_type == pkcs11.KeyType.RSA:
                modulus, exponent = private[attribute.MODULUS], private[attribute.PUBLIC_EXPONENT]
                numbers = rsa.RSAPublicNumbers(
                    int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")
                )
                return numbers.public_key()
            public = self._object(pkcs11, session, object_id, "PUBLIC_KEY", None)
            return _ec_public(bytes(public[attribute.EC_PARAMS]), bytes(public[attribute.EC_POINT]))

        return self._use(read)

    def sign(self, object_id: bytes, class_name: str, mechanism: str, data: bytes) -> bytes:
        """Sign with an object by a mechanism of python-pkcs11's name."""

        def sign(pkcs11: ModuleType, session: Any) -> bytes:
            kind = pkcs11.KeyType.GENERIC_SECRET if class_name == "SECRET_KEY" else None
            key = self._object(pkcs11, session, object_id, class_name, kind)
            return bytes(key.sign(data, mechanism=getattr(pkcs11.Mechanism, mechanism)))

        return self._use(sign)

    def aead(self, object_id: bytes, iv: bytes, aad: bytes, data: bytes, *, seal: bool) -> bytes:
        """Encrypt or decrypt under AES-GCM; the tag follows the ciphertext."""

        def work(pkcs11: ModuleType, session: Any) -> bytes:
            key = self._object(pkcs11, session, object_id, "SECRET_KEY", pkcs11.KeyType.AES)
            parameters = _GcmParameters(iv, aad)
            call = key.encrypt if seal else key.decrypt
            return bytes(
                call(
                    data,
                    mechanism=pkcs11.Mechanism.AES_GCM,
                    mechanism_param=bytes(parameters.struct),
                )
            )

        return self._use(work)

    def _create(self, object_id: bytes, create: Callable[[ModuleType, Any], None]) -> None:
        try:
            self._use(create)
        except TokenError:
            self.destroy(object_id)
            raise

    def _object(
        self, pkcs11: ModuleType, session: Any, object_id: bytes, class_name: str, kind: object
    ) -> Any:
        """Find an object once per session."""
        name = (object_id, class_name, kind)
        if name not in self._objects:
            wanted = {
                pkcs11.Attribute.ID: object_id,
                pkcs11.Attribute.CLASS: getattr(pkcs11.ObjectClass, class_name),
            }
            if kind is not None:
                wanted[pkcs11.Attribute.KEY_TYPE] = kind
            found = next(iter(list(session.get_objects(wanted))), None)
            if found is None:
                what = class_name.lower().replace("_", " ")
                raise TokenError(
                    f"the token {self._uri.describe()} has no {what} with id {object_id.hex()}; "
                    "was it exchanged or cleared?"
                )
            self._objects[name] = found
        return self._objects[name]

    def _use(self, work: Callable[[ModuleType, Any], T]) -> T:
        """Do something in the session, once more in a new one if it was lost."""
        pkcs11 = _pkcs11()
        with self._lock:
            try:
                return work(pkcs11, self._opened(pkcs11))
            except pkcs11.PKCS11Error as error:
                if type(error).__name__ not in _LOST:
                    raise self._translated(error) from None
            self._forget_session(pkcs11)
            try:
                return work(pkcs11, self._opened(pkcs11))
            except pkcs11.PKCS11Error as error:
                self._forget_session(pkcs11)
                raise self._translated(error) from None

    def _opened(self, pkcs11: ModuleType) -> Any:
        if self._session is None:
            if self._refused_pin:
                raise TokenError(self._refused_pin)
            pin = self._uri.pin()
            try:
                self._session = _log_in(pkcs11, self._token(pkcs11), pin)
            except pkcs11.PKCS11Error as error:
                if type(error).__name__ in _BAD_PIN:
                    self._refused_pin = (
                        f"the PIN of {self._uri.describe()} was refused ({_name(error)}); it is "
                        "not tried again until this service restarts, so as not to lock the token"
                    )
                    raise TokenError(self._refused_pin) from None
                raise
        return self._session

    def _forget_session(self, pkcs11: ModuleType) -> None:
        self._objects.clear()
        session, self._session = self._session, None
        try:
            if session is not None:
                session.close()
        except pkcs11.PKCS11Error:
            pass  # it is lost already

    def _token(self, pkcs11: ModuleType) -> Any:
        try:
            slots = pkcs11.lib(self._library).get_slots(token_present=True)
        except RuntimeError as error:
            # python-pkcs11 says so when the library is missing or is none of PKCS#11
            raise TokenError(
                f"the PKCS#11 library {self._library!r} cannot be used: {error}; "
                "look at aziot_keys.pkcs11_lib_path"
            ) from None
        found = [token for slot in slots if (token := slot.get_token()) and self._is_ours(token)]
        if len(found) != 1:
            raise TokenError(
                f"{self._uri.describe()} names {len(found)} tokens of {self._library!r}, expected "
                "one; is it plugged in and initialised?"
            )
        return found[0]

    def _is_ours(self, token: Any) -> bool:
        uri = self._uri
        given = (
            (uri.token, token.label),
            (uri.serial, _text(token.serial)),
            (uri.manufacturer, _text(token.manufacturer_id)),
            (uri.model, _text(token.model)),
            (uri.slot_id, token.slot.slot_id),
        )
        return all(wanted is None or wanted == actual for wanted, actual in given)

    def _translated(self, error: Exception) -> Exception:
        name = type(error).__name__
        if name in _BAD_DATA:
            return ParameterError("the token refuses the data: they do not belong to this key")
        text = f"token {self._uri.describe()}: {_name(error)}"
        return UnsupportedByTokenError(text) if name in _UNABLE else TokenError(text)


class _GcmParameters:
    """CK_GCM_PARAMS of PKCS#11 2.40; python-pkcs11 0.7 has no form of its own for them."""

    class _Struct(ctypes.Structure):
        _fields_ = (
            ("iv", ctypes.c_void_p), ("iv_bytes", ctypes.c_ulong), ("iv_bits", ctypes.c_ulong),
            ("aad", ctypes.c_void_p), ("aad_bytes", ctypes.c_ulong), ("tag_bits", ctypes.c_ulong),
        )  # fmt: skip

    def __init__(self, iv: bytes, aad: bytes) -> None:
        self._iv = ctypes.create_string_buffer(iv, len(iv))
        self._aad = ctypes.create_string_buffer(aad, len(aad))
        self.struct = self._Struct(
            ctypes.addressof(self._iv),
            len(iv),
            8 * len(iv),
            ctypes.addressof(self._aad),
            len(aad),
            8 * crypto.TAG_BYTES,
        )


def _pkcs11() -> ModuleType:
    try:
        import pkcs11
    except ImportError:
        raise TokenError(
            "keys in a PKCS#11 token need the Python package pkcs11; install python3-pkcs11"
        ) from None
    return pkcs11


def _log_in(pkcs11: ModuleType, token: Any, pin: Secret | None) -> Any:
    try:
        return token.open(rw=True, user_pin=None if pin is None else pin.reveal())
    except pkcs11.UserAlreadyLoggedIn:
        # a login is for all sessions of a process: another URI of the same token has made it
        return token.open(rw=True)


def _require_mechanisms(pkcs11: ModuleType, session: Any, uses: frozenset[Use]) -> None:
    able = session.token.slot.get_mechanisms()
    mechanisms = pkcs11.Mechanism
    for wanted, use in (
        (mechanisms.SHA256_HMAC, {Use.DERIVE, Use.SIGN}),
        (mechanisms.AES_GCM, {Use.ENCRYPT}),
    ):
        if uses & use and wanted not in able:
            raise UnsupportedByTokenError(f"the token cannot do {wanted.name}")


def _secret_kinds(pkcs11: ModuleType, uses: frozenset[Use]) -> list[tuple[Any, dict[Any, bool]]]:
    attribute, kinds = pkcs11.Attribute, []
    if uses & {Use.DERIVE, Use.SIGN}:
        kinds.append(
            (pkcs11.KeyType.GENERIC_SECRET, {attribute.SIGN: True, attribute.VERIFY: True})
        )
    if Use.ENCRYPT in uses:
        kinds.append((pkcs11.KeyType.AES, {attribute.ENCRYPT: True, attribute.DECRYPT: True}))
    return kinds


def _generate_secret(pkcs11: ModuleType, session: Any, kind: Any, template: dict[Any, Any]) -> None:
    attribute, able = pkcs11.Attribute, pkcs11.MechanismFlag
    is_aes = kind == pkcs11.KeyType.AES
    mechanisms = pkcs11.Mechanism
    session.generate_key(
        kind,
        8 * crypto.AES_BYTES,
        store=True,
        id=template[attribute.ID],
        label=template[attribute.LABEL],
        capabilities=able.ENCRYPT | able.DECRYPT if is_aes else able.SIGN | able.VERIFY,
        mechanism=mechanisms.AES_KEY_GEN if is_aes else mechanisms.GENERIC_SECRET_KEY_GEN,
        # python-pkcs11 0.7 makes the length an attribute for AES only
        template={
            attribute.SENSITIVE: True,
            attribute.EXTRACTABLE: False,
            attribute.VALUE_LEN: crypto.AES_BYTES,
        },
    )


def _ec_public(parameters: bytes, point: bytes) -> ec.EllipticCurvePublicKey:
    known = crypto.CURVES.get(parameters[2:])
    if known is None:
        raise TokenError("the key in the token is on another curve than P-256, P-384 or P-521")
    # PKCS#11 2.40 wants the point in a DER OCTET STRING; some tokens give it bare
    curve = known()
    point = point[-1 - 2 * ((curve.key_size + 7) // 8) :]
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
    except ValueError as error:
        raise TokenError("the public key in the token is not a point of its curve") from error


def raw_to_der(signature: bytes) -> bytes:
    """Return a token's ECDSA signature, r and s one after the other, in DER."""
    half = len(signature) // 2
    r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    return utils.encode_dss_signature(r, s)


def _text(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.rstrip(" \0")


def _name(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
