"""keyd over its real socket: every route, and what it refuses."""

import base64
import hmac
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from harness.services import Services
from skerry.base.client import ApiError, ServiceClient
from skerry.base.errors import SettingsError
from skerry.base.log import get_logger
from skerry.keys import crypto
from skerry.keys.client import KeysClient
from skerry.keys.errors import ParameterError, UnauthorizedError
from skerry.keys.handle import seal, unseal
from skerry.keys.model import (
    DerivedRef,
    KeyRef,
    PairAlgorithm,
    PairRef,
    Principal,
    Settings,
    SymmetricRef,
    choose_algorithm,
    parse_settings,
    parse_uses,
)
from skerry.keys.store import KeyStore

DIGEST = bytes(range(32))
no_deadline = hypothesis_settings(deadline=None)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """One keyd for the tests of this file."""
    running = Services(tmp_path_factory.mktemp("keyd"))
    preloaded = running.folder / "preloaded.key"
    preloaded.write_bytes(b"preloaded key")
    text = f'[[principal]]\nuid = {os.getuid()}\nkeys = ["*"]\n'
    running.configure("keyd", f'{text}[preloaded_keys]\nfixed = "file://{preloaded}"\n')
    running.host("keyd")
    yield running
    running.stop()


@pytest.fixture
def keys(services: Services) -> KeysClient:
    """A client of that keyd."""
    return KeysClient(services.socket("keyd"))


def test_a_key_is_made_once_and_kept(keys: KeysClient) -> None:
    """Creating twice gives the same key: the same message has the same HMAC."""
    first = keys.sign_hmac(keys.create_key("once"), b"message")
    assert keys.sign_hmac(keys.create_key("once"), b"message") == first
    assert keys.sign_hmac(keys.load_key("once"), b"message") == first


def test_an_imported_key_is_the_one_given(keys: KeysClient) -> None:
    """HMAC under an imported key is the HMAC under those very bytes."""
    handle = keys.create_key("imported", b"swordfish")
    assert keys.sign_hmac(handle, b"m") == hmac.digest(b"swordfish", b"m", "sha256")


def test_a_preloaded_key_is_used_and_not_changed(keys: KeysClient) -> None:
    """Preloaded keys sign, but can be neither replaced nor deleted."""
    handle = keys.load_key("fixed")
    assert keys.sign_hmac(handle, b"m") == hmac.digest(b"preloaded key", b"m", "sha256")
    with pytest.raises(ApiError, match="is preloaded from"):
        keys.create_key("fixed", b"other")
    with pytest.raises(ApiError, match="is preloaded from"):
        keys.delete_key(handle)


def test_derived_keys_are_hmacs_of_their_data(keys: KeysClient) -> None:
    """Export and signing agree with the derivation done by hand."""
    base = keys.create_key("base", b"base")
    derived = keys.derive(base, b"module:1:primary")
    expected = hmac.digest(b"base", b"module:1:primary", "sha256")
    assert keys.export_derived(derived) == expected
    assert keys.sign_hmac(derived, b"m") == hmac.digest(expected, b"m", "sha256")


def test_only_derived_keys_are_exported(keys: KeysClient) -> None:
    """A stored key never leaves keyd, and a derived one is not derived from again."""
    base = keys.create_key("inside")
    with pytest.raises(ApiError, match="only a derived key can be exported"):
        keys.export_derived(base)
    with pytest.raises(ApiError, match="not itself derived"):
        keys.derive(keys.derive(base, b"x"), b"y")


def test_encryption_returns_and_binds_its_data(keys: KeysClient) -> None:
    """Decryption needs the same IV and associated data; the layout is version 3."""
    handle = keys.create_key("aes")
    sealed = keys.encrypt(handle, b"i" * 12, b"aad", b"plain")
    assert sealed[:1] == b"\x03"
    assert len(sealed) == 1 + 12 + len(b"plain") + 16
    assert keys.decrypt(handle, b"i" * 12, b"aad", sealed) == b"plain"
    for iv, aad, data in (
        (b"j" * 12, b"aad", sealed),
        (b"i" * 12, b"other", sealed),
        (b"i" * 12, b"aad", sealed[:-1] + bytes([sealed[-1] ^ 1])),
    ):
        with pytest.raises(ApiError, match="do not belong together"):
            keys.decrypt(handle, iv, aad, data)


def test_ciphertexts_of_upstream_are_decrypted() -> None:
    """Version 2 has the tag behind it; data of releases up to 1.1, version 1, in front."""
    key, iv = b"k" * 32, b"i" * 12
    sealed = AESGCM(key).encrypt(iv, b"plain", b"aad")
    assert crypto.decrypt(key, iv, b"aad", b"\x02" + sealed) == b"plain"
    assert crypto.decrypt(key, iv, b"aad", b"\x01" + sealed[-16:] + sealed[:-16]) == b"plain"


def test_an_iv_used_twice_gives_nothing_away(keys: KeysClient) -> None:
    """Every encryption has a nonce of its own, whatever the caller's IV."""
    handle = keys.create_key("aes-again")
    first, second = (keys.encrypt(handle, b"i" * 12, b"", bytes(32)) for _ in range(2))
    assert first[1:13] != second[1:13]
    assert first[13:45] != second[13:45]


def test_ec_pairs_sign_digests(keys: KeysClient) -> None:
    """The signature verifies under the public key that the parameters describe."""
    handle = keys.create_key_pair("ec", "ec-p256:*")
    assert keys.parameter(handle, "algorithm") == "ECDSA"
    point = base64.b64decode(keys.parameter(handle, "ec-point"))
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    public.verify(keys.sign_ecdsa(handle, DIGEST), DIGEST, ec.ECDSA(Prehashed(hashes.SHA256())))


def test_rsa_pairs_sign_digest_infos(keys: KeysClient) -> None:
    """RSA-PKCS1 is a signature of a DigestInfo, and of nothing else."""
    handle = keys.create_key_pair("rsa", "rsa-2048")
    modulus, exponent = (
        int.from_bytes(base64.b64decode(keys.parameter(handle, name)), "big")
        for name in ("rsa-modulus", "rsa-exponent")
    )
    public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    signature = keys.sign_rsa(handle, crypto.digest_info(DIGEST))
    public.verify(signature, DIGEST, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
    with pytest.raises(ApiError, match="DigestInfo of SHA-256"):
        keys.sign_rsa(handle, b"anything")
    with pytest.raises(ApiError, match="ECDSA needs an EC key"):
        keys.sign_ecdsa(handle, DIGEST)
    with pytest.raises(ApiError, match="not one of this kind"):
        keys.parameter(handle, "ec-point")


def test_ec_pairs_do_not_sign_as_rsa(keys: KeysClient) -> None:
    """The message says what an EC key does instead; a digest of odd size is refused."""
    handle = keys.create_key_pair("ec-only")
    assert base64.b64decode(keys.parameter(handle, "ec-curve-oid")).hex() == "2a8648ce3d030107"
    with pytest.raises(ApiError, match="EC signs by ECDSA"):
        keys.sign_rsa(handle, crypto.digest_info(DIGEST))
    with pytest.raises(ApiError, match="has 31 bytes, expected 32, 48 or 64"):
        keys.sign_ecdsa(handle, DIGEST[1:])


def test_a_moved_pair_has_its_new_name_only(keys: KeysClient) -> None:
    """After the move the old id is gone and the new one is the same key."""
    point = keys.parameter(keys.create_key_pair("temp"), "ec-point")
    keys.create_key_pair("final")
    keys.move_key_pair("temp", "final")
    assert keys.parameter(keys.load_key_pair("final"), "ec-point") == point
    with pytest.raises(ApiError, match="there is no key 'temp'"):
        keys.load_key_pair("temp")


def test_deleted_keys_are_gone(keys: KeysClient) -> None:
    """A handle of a deleted key no longer works; deleting again is no error."""
    pair, symmetric = keys.create_key_pair("gone"), keys.create_key("gone-too")
    for _ in range(2):
        keys.delete_key_pair(pair)
        keys.delete_key(symmetric)
    with pytest.raises(ApiError, match="there is no key 'gone'"):
        keys.sign_ecdsa(pair, DIGEST)
    with pytest.raises(ApiError, match="there is no key 'gone-too'"):
        keys.sign_hmac(symmetric, b"m")


def test_handles_are_of_their_kind(keys: KeysClient) -> None:
    """A pair's handle is no symmetric key, and the other way round."""
    pair, symmetric = keys.create_key_pair("kind-pair"), keys.create_key("kind-key")
    with pytest.raises(ApiError, match="expected a symmetric key"):
        keys.sign_hmac(pair, b"m")
    with pytest.raises(ApiError, match="expected a key pair"):
        keys.sign_ecdsa(symmetric, DIGEST)
    with pytest.raises(ApiError, match="not that of a symmetric key"):
        keys.delete_key(pair)
    with pytest.raises(ApiError, match="not that of a key pair"):
        keys.delete_key_pair(symmetric)


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        pytest.param("/key", {"keyId": "x"}, 422, "usage is missing", id="no usage"),
        pytest.param("/key", {"keyId": "x", "usage": "cook"}, 400, "usage 'cook'", id="use"),
        pytest.param("/key", {"keyId": "", "usage": "sign"}, 400, "key id ''", id="no id"),
        pytest.param(
            "/key", {"keyId": "x", "usage": "sign", "keyBytes": "?"}, 422, "base64", id="base64"
        ),
        pytest.param(
            "/key", {"keyId": "x", "usage": "sign", "keyBytes": ""}, 400, "0 bytes", id="empty"
        ),
        pytest.param(
            "/key",
            {"keyId": "handle-validation-key", "usage": "sign"},
            400,
            "belongs to this service",
            id="keyd's own key",
        ),
        pytest.param(
            "/keypair",
            {"keyId": "x", "preferredAlgorithms": "dsa"},
            400,
            "none of the algorithms 'dsa'",
            id="algorithm",
        ),
        pytest.param(
            "/sign", {"keyHandle": "sr=a&sig=b", "algorithm": "HMAC-SHA256", "parameters": {}},
            400, "not one of this service", id="made-up handle",
        ),
        pytest.param(
            "/sign", {"keyHandle": "x", "algorithm": "MD5", "parameters": {}},
            400, "algorithm 'MD5' is not known", id="signature algorithm",
        ),
        pytest.param(
            "/encrypt", {"keyHandle": "x", "algorithm": "ROT13", "plaintext": ""},
            400, "algorithm 'ROT13' is not known", id="encryption algorithm",
        ),
        pytest.param(
            "/decrypt", {"keyHandle": "x", "algorithm": "RSA-PKCS1", "ciphertext": ""},
            400, "expected AEAD", id="decryption algorithm",
        ),
        pytest.param(
            "/sign", {"keyHandle": "x", "algorithm": "ECDSA", "parameters": 5},
            422, "parameters is missing or not an object", id="parameters",
        ),
    ],
)  # fmt: skip
def test_wrong_requests_are_told_why(
    services: Services, path: str, body: object, status: int, message: str
) -> None:
    """Each mistake has its status and names itself."""
    client = ServiceClient(services.socket("keyd"), "2020-09-01")
    with pytest.raises(ApiError, match=message) as caught:
        client.post(path, body)
    assert caught.value.status == status


def test_key_files_belong_to_their_service_alone(services: Services, keys: KeysClient) -> None:
    """Files are 0600 and named by their id."""
    keys.create_key("mode")
    files = list((services.folder / "keyd" / "state" / "keys").glob("mode-*.key"))
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00\x01 not a key", id="foreign"),
        pytest.param(b"-----BEGIN PRIVATE KEY-----\nMII", id="truncated"),
    ],
)
def test_a_broken_key_file_is_an_internal_error(
    services: Services, keys: KeysClient, content: bytes
) -> None:
    """The caller learns nothing; keyd goes on."""
    keys.create_key_pair("broken")
    folder = services.folder / "keyd" / "state" / "keys"
    path = next(folder.glob("broken-*.key"))
    path.write_bytes(content)
    with pytest.raises(ApiError, match="internal error") as caught:
        keys.load_key_pair("broken")
    assert caught.value.status == 500
    path.unlink()
    keys.create_key_pair("broken")


def test_keys_outlive_a_kill(tmp_path: Path) -> None:
    """After kill -9 a new keyd has the same keys and honours the old handles."""
    running = Services(tmp_path)
    running.configure("keyd", f'[[principal]]\nuid = {os.getuid()}\nkeys = ["*"]\n')
    try:
        running.start("keyd")
        client = KeysClient(running.socket("keyd"))
        handle = client.create_key("kept")
        before = client.sign_hmac(handle, b"m")
        running.kill("keyd")
        running.start("keyd")
        assert client.sign_hmac(handle, b"m") == before
    finally:
        running.stop()


@pytest.mark.parametrize(
    ("key_id", "allowed"),
    [
        pytest.param("aziot-edged-ca", True, id="exact"),
        pytest.param("module/a", True, id="star"),
        pytest.param("x1", True, id="question mark"),
        pytest.param("x12", False, id="one character only"),
        pytest.param("device-id", False, id="another key"),
    ],
)
def test_principals_match_by_wildcard(key_id: str, allowed: bool) -> None:
    """A uid may use what a pattern of its own matches, root everything, others nothing."""
    principal = Principal(1000, ("aziot-edged-ca", "module/*", "x?"))
    settings = Settings(preloaded={}, principals=(principal,), max_requests=10)
    settings.require(0, key_id)
    if allowed:
        settings.require(1000, key_id)
    else:
        with pytest.raises(UnauthorizedError, match=f"uid 1000 may not use key '{key_id}'"):
            settings.require(1000, key_id)
    with pytest.raises(UnauthorizedError):
        settings.require(1001, key_id)


def test_a_stranger_is_refused_by_uid(tmp_path: Path) -> None:
    """A uid without a principal gets 401 and no reason."""
    running = Services(tmp_path)
    running.configure("keyd", "")
    running.start("keyd")
    try:
        if os.getuid() == 0:
            running.socket("keyd").chmod(0o666)
            tmp_path.chmod(0o755)
            pid = os.fork()
            if pid == 0:
                os._exit(_refused_as(running.socket("keyd"), 65534))
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        else:
            assert _refused_as(running.socket("keyd"), os.getuid()) == 0
    finally:
        running.stop()


def _refused_as(path: Path, uid: int) -> int:
    descriptor = os.open(path.parent, os.O_PATH)
    if os.getuid() != uid:
        os.setresuid(uid, uid, uid)
    try:
        KeysClient(Path(f"/proc/self/fd/{descriptor}") / path.name).create_key("x")
    except ApiError as error:
        return 0 if (error.status, str(error)) == (401, "unauthorized") else 2
    return 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"aziot_keys": {"pkcs11_lib_path": "x"}}, "expected the path", id="library"),
        pytest.param({"aziot_keys": {"pkcs11_base_slot": "pkcs11:"}}, "path is None", id="slot"),
        pytest.param(
            {"aziot_keys": {"pkcs11_lib_path": "/x", "pkcs11_base_slot": 1}},
            "base_slot is not a string", id="slot of another type",
        ),
        pytest.param(
            {"aziot_keys": {"pkcs11_lib_path": "/x", "pkcs11_base_slot": "file:///x"}},
            "aziot_keys.pkcs11_base_slot: a PKCS#11 URI begins with", id="slot of another scheme",
        ),
        pytest.param(
            {"preloaded_keys": {"a": "pkcs11:object=a"}},
            "preloaded_keys.a is in a PKCS#11 token; give the token's library", id="no library",
        ),
        pytest.param(
            {"preloaded_keys": {"a": "pkcs11:token=a"}}, "names no object", id="no object"
        ),
        pytest.param({"preloaded_keys": {"a": "http://x"}}, "is not file:///path", id="location"),
        pytest.param({"preloaded_keys": {"a": "file://[x"}}, "is not file:///path", id="no URL"),
        pytest.param({"preloaded_keys": 1}, "expected a table", id="not a table"),
        pytest.param({"principal": {}}, "expected an array", id="not an array"),
        pytest.param({"principal": [{"uid": "me"}]}, "principal", id="principal"),
        pytest.param({"max_requests": 0}, "max_requests is 0", id="limit"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    """Settings that cannot be used stop the service before it serves."""
    with pytest.raises(SettingsError, match=message):
        parse_settings(settings)


@pytest.mark.parametrize(
    ("preferred", "expected"),
    [
        (None, PairAlgorithm.EC_P256),
        ("*", PairAlgorithm.EC_P256),
        ("rsa-2048:*", PairAlgorithm.RSA_2048),
        ("ed25519:rsa-4096", PairAlgorithm.RSA_4096),
    ],
)
def test_the_first_known_algorithm_is_chosen(
    preferred: str | None, expected: PairAlgorithm
) -> None:
    """Unknown names are passed over."""
    assert choose_algorithm(preferred) == expected


def test_a_use_is_named_once() -> None:
    """A doubled use is a mistake of the caller."""
    with pytest.raises(ParameterError, match="names the same use twice"):
        parse_uses("sign,sign")


REFS: st.SearchStrategy[KeyRef] = st.one_of(
    st.builds(SymmetricRef, st.text(min_size=1)),
    st.builds(PairRef, st.text(min_size=1)),
    st.builds(DerivedRef, st.builds(SymmetricRef, st.text(min_size=1)), st.binary()),
)


@no_deadline
@given(REFS, st.binary(min_size=32, max_size=32))
def test_handles_return_what_they_stand_for(ref: KeyRef, mac_key: bytes) -> None:
    """unseal(seal(x)) is x."""
    assert unseal(seal(ref, mac_key), mac_key) == ref


@no_deadline
@given(REFS, st.data())
def test_changed_handles_are_refused(ref: KeyRef, data: st.DataObject) -> None:
    """No handle of another key, and none with a character changed, is accepted."""
    handle = seal(ref, b"k" * 32, bytes)
    with pytest.raises(ParameterError):
        unseal(handle, b"other" * 8)
    position = data.draw(st.integers(0, len(handle) - 1))
    changed = handle[:position] + ("A" if handle[position] != "A" else "B") + handle[position + 1 :]
    with pytest.raises(ParameterError):
        unseal(changed, b"k" * 32)


@no_deadline
@given(st.text())
def test_nonsense_is_no_handle(text: str) -> None:
    """Any text that keyd did not make is refused with the same words."""
    with pytest.raises(ParameterError, match="not one of this service"):
        unseal(text, b"k" * 32)


@no_deadline
@given(st.binary(), st.binary(), st.binary(min_size=8, max_size=64))
def test_decryption_undoes_encryption(plaintext: bytes, aad: bytes, iv: bytes) -> None:
    """decrypt(encrypt(x)) is x."""
    key = b"k" * 32
    assert crypto.decrypt(key, iv, aad, crypto.encrypt(key, iv, aad, plaintext)) == plaintext


@pytest.mark.parametrize(
    ("key", "iv", "data", "message"),
    [
        pytest.param(b"k" * 16, b"i" * 12, b"\x02x", "the key has 16 bytes", id="key"),
        pytest.param(b"k" * 32, b"i" * 7, b"\x02", "the iv has 7 bytes", id="iv"),
        pytest.param(b"k" * 32, b"i" * 12, b"\x03x", "of no version", id="too short"),
        pytest.param(b"k" * 32, b"i" * 12, b"\x04x", "of no version", id="version"),
    ],
)
def test_unusable_cipher_parameters(key: bytes, iv: bytes, data: bytes, message: str) -> None:
    """Sizes and versions are checked before anything is computed."""
    with pytest.raises(ParameterError, match=message):
        crypto.decrypt(key, iv, b"", data)


def test_moving_a_missing_pair_is_refused(tmp_path: Path) -> None:
    """The store names the key that is not there."""
    with pytest.raises(ParameterError, match="there is no key 'nothing'"):
        KeyStore(tmp_path, {}, get_logger("keyd")).move("nothing", "x")
