"""Keys in a PKCS#11 token (SoftHSM2), through keyd's routes."""

import base64
import hmac
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from harness.services import Services
from harness.softhsm import LIBRARY, PIN, SoftHsm
from skerry.base.client import ApiError
from skerry.base.log import Secret, get_logger
from skerry.keys import crypto
from skerry.keys.blocks import pad_digest_info
from skerry.keys.client import KeysClient
from skerry.keys.errors import KeyFileError, ParameterError, TokenError
from skerry.keys.model import PairAlgorithm, Use
from skerry.keys.pkcs11_uri import Pkcs11Uri, parse_uri
from skerry.keys.store import KeyStore
from skerry.keys.token import Token
from skerry.keys.token_keys import Tokens

DIGEST = bytes(range(32))
LOG = get_logger("keyd")
IMPORTED = bytes(range(32, 64))


@pytest.fixture(scope="module")
def foreign(softhsm: SoftHsm) -> dict[str, object]:
    """Keys that were put into the token `Foreign` by other software, by their labels."""
    pairs: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = {
        "their-rsa": rsa.generate_private_key(65537, 2048),
        "their-ec": ec.generate_private_key(ec.SECP384R1()),
    }
    for number, (label, key) in enumerate(pairs.items(), 1):
        file = softhsm.folder / f"{label}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        softhsm.run("softhsm2-util", f"--import={file}", "--token=Foreign", f"--label={label}",
                    f"--id=0{number}", f"--pin={PIN}")  # fmt: skip
    return {label: key.public_key() for label, key in pairs.items()}


@pytest.fixture(scope="module")
def services(
    softhsm: SoftHsm, foreign: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Services]:
    """One keyd that makes its keys in the token."""
    running = Services(tmp_path_factory.mktemp("keyd"))
    pin_file = running.folder / "pin"
    pin_file.write_text(f"{PIN}\n")
    running.configure(
        "keyd",
        f"""
[[principal]]
uid = {os.getuid()}
keys = ["*"]
[aziot_keys]
pkcs11_lib_path = "{LIBRARY}"
pkcs11_base_slot = "pkcs11:token=Skerry?pin-source=file:{pin_file}"
[preloaded_keys]
rsa-by-label = "pkcs11:token=Foreign;object=their-rsa?pin-value={PIN}"
ec-by-id = "pkcs11:token=Foreign;id=%02?pin-value={PIN}"
missing = "pkcs11:token=Foreign;object=nothing?pin-value={PIN}"
no-token = "pkcs11:token=Unplugged;object=x?pin-value={PIN}"
""",
    )
    running.host("keyd")
    yield running
    running.stop()


@pytest.fixture
def keys(services: Services) -> KeysClient:
    """A client of that keyd."""
    return KeysClient(services.socket("keyd"))


def store(folder: Path, base: str = f"pkcs11:token=Skerry?pin-value={PIN}") -> KeyStore:
    """Return a store with a token."""
    return KeyStore(folder, {}, LOG, Tokens(LIBRARY), parse_uri(base))


def test_ec_pairs_are_made_in_the_token(services: Services, keys: KeysClient) -> None:
    """They sign as pairs in files do, and the key file holds no private byte."""
    handle = keys.create_key_pair("ec", "ec-p256:*")
    assert keys.parameter(handle, "algorithm") == "ECDSA"
    point = base64.b64decode(keys.parameter(handle, "ec-point"))
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    public.verify(keys.sign_ecdsa(handle, DIGEST), DIGEST, ec.ECDSA(Prehashed(hashes.SHA256())))
    files = (services.folder / "keyd/state/keys").glob("ec-*.key")
    assert [path.read_bytes()[:26] for path in files] == [b"SKERRY-KEY 1 token-pair de"]
    with pytest.raises(ApiError, match="the digest has 31 bytes"):
        keys.sign_ecdsa(handle, DIGEST[1:])
    with pytest.raises(ApiError, match="the key pair is EC"):
        keys.sign_rsa(handle, crypto.digest_info(DIGEST))


@pytest.mark.parametrize("key_id", ["rsa", "rsa-by-label"])
def test_rsa_pairs_sign_in_the_token(keys: KeysClient, key_id: str) -> None:
    """PKCS#1 v1.5 and ready-made blocks, with a pair made here and one that was there before."""
    if key_id == "rsa":
        keys.create_key_pair("rsa", "rsa-2048")
    handle = keys.load_key_pair(key_id)
    modulus, exponent = (
        int.from_bytes(base64.b64decode(keys.parameter(handle, name)), "big")
        for name in ("rsa-modulus", "rsa-exponent")
    )
    public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    info = crypto.digest_info(DIGEST)
    signature = keys.sign_rsa(handle, info)
    public.verify(signature, DIGEST, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
    assert keys.sign_rsa_block(handle, pad_digest_info(info, 256)) == signature
    for call, data in (
        (keys.sign_rsa, b"anything"),
        (keys.sign_rsa_block, b"\1" * 256),
        (keys.sign_ecdsa, DIGEST),
    ):
        with pytest.raises(ApiError, match=r"SHA-2|needs an EC key"):
            call(handle, data)


def test_a_preloaded_pair_of_another_curve_signs(
    keys: KeysClient, foreign: dict[str, object]
) -> None:
    """An object that the URI names by its id is the one that was imported."""
    public = foreign["their-ec"]
    assert isinstance(public, ec.EllipticCurvePublicKey)
    digest = bytes(48)
    signature = keys.sign_ecdsa(keys.load_key_pair("ec-by-id"), digest)
    public.verify(signature, digest, ec.ECDSA(Prehashed(hashes.SHA384())))


def test_preloaded_objects_are_not_changed(keys: KeysClient) -> None:
    """They belong to whoever put them there."""
    handle = keys.load_key_pair("rsa-by-label")
    changes: list[tuple[Callable[..., object], tuple[object, ...]]] = [
        (keys.delete_key_pair, (handle,)),
        (keys.move_key_pair, ("rsa-by-label", "other")),
        (keys.create_key, ("ec-by-id", IMPORTED)),
    ]
    for change, arguments in changes:
        with pytest.raises(ApiError, match=r"preloaded from pkcs11:token=Foreign") as caught:
            change(*arguments)
        assert PIN not in str(caught.value)


def test_what_is_not_in_the_token_is_named(keys: KeysClient) -> None:
    """A missing object is the caller's matter, a missing token ours."""
    with pytest.raises(ApiError, match="there is no key pair 'missing': no object pkcs11:token=F"):
        keys.load_key_pair("missing")
    with pytest.raises(ApiError, match="there is no symmetric key 'missing'"):
        keys.load_key("missing")
    with pytest.raises(ApiError, match="internal error") as caught:
        keys.load_key_pair("no-token")
    assert caught.value.status == 500


def test_symmetric_keys_do_all_in_the_token(keys: KeysClient) -> None:
    """HMAC, derivation and AES-GCM; an IV of another size; what was changed is refused."""
    handle = keys.create_key("symmetric")
    derived = keys.derive(handle, b"data")
    assert keys.export_derived(derived) == keys.sign_hmac(handle, b"data")
    for iv in (b"i" * 12, b"i" * 16):
        sealed = keys.encrypt(handle, iv, b"aad", b"plain")
        assert (sealed[:1], len(sealed)) == (b"\x03", 1 + 12 + 5 + 16)
        assert keys.decrypt(handle, iv, b"aad", sealed) == b"plain"
    with pytest.raises(ApiError, match="the iv has 7 bytes"):
        keys.encrypt(handle, b"i" * 7, b"", b"plain")
    with pytest.raises(ApiError, match="of no version that this key has made"):
        keys.decrypt(handle, b"i" * 12, b"aad", b"\x01" + sealed[1:])
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    with pytest.raises(ApiError):
        keys.decrypt(handle, b"i" * 16, b"aad", changed)


def test_an_imported_key_is_the_one_given(keys: KeysClient) -> None:
    """What the token computes is what the bytes give outside of it."""
    handle = keys.create_key("imported", IMPORTED)
    assert keys.sign_hmac(handle, b"m") == hmac.digest(IMPORTED, b"m", "sha256")
    sealed = AESGCM(IMPORTED).encrypt(b"i" * 12, b"plain", b"aad")
    assert keys.decrypt(handle, b"i" * 12, b"aad", b"\x02" + sealed) == b"plain"


def test_moves_and_deletions_reach_the_token(tmp_path: Path, softhsm: SoftHsm) -> None:
    """The old pair's objects are destroyed, the moved one is the same key under its new id."""
    keys = store(tmp_path)
    for key_id in ("move-old", "move-new"):
        keys.create_pair(key_id, PairAlgorithm.EC_P256)
    public = keys.pair("move-new").public()
    assert objects("skerry:move-old") == 1
    keys.move("move-new", "move-old")
    assert keys.pair("move-old").public() == public
    assert objects("skerry:move-old") == 0
    with pytest.raises(ParameterError, match="there is no key 'move-new'"):
        keys.pair("move-new")
    keys.delete("move-old")
    assert objects("skerry:move-new") == 0


def objects(label: str) -> int:
    """Tell how many kinds of private object of a label are in the token `Skerry`."""
    token = Token(LIBRARY, Pkcs11Uri(token="Skerry", pin_value=Secret(PIN)))
    kinds = ("PRIVATE_KEY", "SECRET_KEY")
    return sum(token.find_id(Pkcs11Uri(label=label), kind) is not None for kind in kinds)


def test_a_replaced_key_leaves_no_object(tmp_path: Path, softhsm: SoftHsm) -> None:
    """An import destroys what it replaces; a key in the token survives a new store."""
    keys = store(tmp_path)
    keys.create_symmetric("again", frozenset({Use.SIGN}))
    first = keys.symmetric("again").hmac(b"m")
    assert store(tmp_path).symmetric("again").hmac(b"m") == first
    keys.put_symmetric("again", IMPORTED)
    assert keys.symmetric("again").hmac(b"m") == hmac.digest(IMPORTED, b"m", "sha256")
    token = Token(LIBRARY, parse_uri(f"pkcs11:token=Skerry?pin-value={PIN}"))
    assert token.find_id(Pkcs11Uri(label="skerry:again"), "SECRET_KEY") is not None


def test_keys_that_upstream_labelled_are_found(tmp_path: Path, softhsm: SoftHsm) -> None:
    """Without a key file, an object of the base token with the key's id as label is the key."""
    label = f"theirs-{secrets.token_hex(4)}"
    file = softhsm.folder / "theirs.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    softhsm.run("softhsm2-util", f"--import={file}", "--token=Skerry", f"--label={label}",
                f"--id={secrets.token_hex(8)}", f"--pin={PIN}")  # fmt: skip
    keys = store(tmp_path)
    assert keys.has(label)
    assert keys.pair(label).public() == key.public_key()
    with pytest.raises(ParameterError, match=r"no key 'theirs.*' of this service's making"):
        keys.move(label, "other")
    keys.delete(label)
    assert not keys.has(label)
    keys.create_pair("hidden", PairAlgorithm.EC_P256)
    assert not keys.has("skerry:hidden")


def test_a_key_is_kept_in_a_file_when_the_token_cannot(
    tmp_path: Path, softhsm: SoftHsm, caplog: pytest.LogCaptureFixture
) -> None:
    """A key that no mechanism of the token fits works from a file, and the log says so."""
    keys = store(tmp_path)
    keys.put_symmetric("odd", b"15 bytes is odd", frozenset({Use.ENCRYPT}))
    assert keys.symmetric("odd").uses == {Use.ENCRYPT}
    assert "key is kept in a file" in caplog.text


def test_a_wrong_pin_is_tried_once(tmp_path: Path, softhsm: SoftHsm) -> None:
    """Three wrong attempts lock a token, so there is no second; the message has no PIN in it."""
    keys = store(tmp_path, "pkcs11:token=Closed?pin-value=wrong-canary")
    for _ in range(5):
        with pytest.raises(TokenError, match=r"PIN of pkcs11:token=Closed was refused") as caught:
            keys.create_pair("x", PairAlgorithm.EC_P256)
        assert "canary" not in str(caught.value)
    flags = Token(LIBRARY, parse_uri("pkcs11:token=Closed"))._token(pkcs11).flags
    assert not flags & pkcs11.TokenFlag.USER_PIN_LOCKED


@pytest.mark.parametrize(
    ("library", "uri", "message"),
    [
        pytest.param("/nowhere.so", "pkcs11:token=Skerry", "'/nowhere.so' cannot be", id="library"),
        pytest.param(LIBRARY, "pkcs11:token=Nobody", "names 0 tokens", id="token"),
        pytest.param(LIBRARY, "pkcs11:model=SoftHSM%20v2", r"names \d tokens", id="several tokens"),
        pytest.param(LIBRARY, "pkcs11:token=Skerry;serial=0", "names 0 tokens", id="serial"),
        pytest.param(LIBRARY, "pkcs11:token=Closed", "UserNotLoggedIn", id="no PIN"),
    ],
)
def test_tokens_that_cannot_be_used_are_named(
    softhsm: SoftHsm, library: str, uri: str, message: str
) -> None:
    """What is wrong is said, and where to look."""
    token = Token(library, parse_uri(uri))
    with pytest.raises(TokenError, match=message):
        token.create_pair("x", PairAlgorithm.EC_P256)


def test_an_object_is_not_left_when_its_file_cannot_be_written(
    tmp_path: Path, softhsm: SoftHsm
) -> None:
    """A key that nobody can find again is not made."""
    keys = store(tmp_path)
    (tmp_path / "keys").rmdir()
    with pytest.raises(KeyFileError, match="cannot be written: No such file or directory"):
        keys.create_pair("unfound", PairAlgorithm.EC_P256)
    with pytest.raises(KeyFileError, match="cannot be written: No such file or directory"):
        keys.create_symmetric("unfound")
    assert objects("skerry:unfound") == 0


def test_a_lost_session_is_opened_again(tmp_path: Path, softhsm: SoftHsm) -> None:
    """A token that was pulled and put back goes on working."""
    keys = store(tmp_path)
    keys.create_pair("lost", PairAlgorithm.EC_P256)
    pair = keys.pair("lost")
    pair.sign_digest(DIGEST)
    pair.token._session.close()  # type: ignore[attr-defined]  # what a pulled token does
    pair.sign_digest(DIGEST)


def test_a_cleared_token_is_told(tmp_path: Path, softhsm: SoftHsm) -> None:
    """The file names an object that has gone; settings without the token are told as well."""
    keys = store(tmp_path)
    keys.create_pair("cleared", PairAlgorithm.EC_P256)
    pair = keys.pair("cleared")
    token = Token(LIBRARY, parse_uri(f"pkcs11:token=Skerry?pin-value={PIN}"))
    token.destroy(pair.object_id)  # type: ignore[attr-defined]
    with pytest.raises(TokenError, match=r"has no private key with id .* cleared"):
        store(tmp_path).pair("cleared").sign_digest(DIGEST)
    with pytest.raises(KeyFileError, match="the settings name none"):
        KeyStore(tmp_path, {}, LOG).pair("cleared")


KILLS = """
import os, shutil, sys, traceback
from pathlib import Path
from harness.kill_points import kill_at_every_write
from skerry.base.log import get_logger
from skerry.keys.errors import TokenError
from skerry.keys.files import KeyFiles
from skerry.keys.model import PairAlgorithm
from skerry.keys.pkcs11_uri import parse_uri
from skerry.keys.store import KeyStore
from skerry.keys.token_keys import Tokens

folder, uri = Path(sys.argv[1]), sys.argv[2]
places = [folder / "state", folder / "softhsm/tokens"]

def store():
    return KeyStore(places[0], {}, get_logger("keyd"), Tokens("LIBRARY"), parse_uri(uri))

def apart(work):
    # the library must not be loaded in the parent: SoftHSM does not outlive a fork
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def begin():
    keys = store()
    for key_id in ("old", "new"):
        keys.create_pair(key_id, PairAlgorithm.EC_P256)

def prepare():
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder / "before" / place.name, place)

def check():
    held = KeyFiles(places[0], {}).read("old")
    assert held in (old, new)
    assert held == new or KeyFiles(places[0], {}).read("new") == new

    def use():
        keys = store()
        try:
            keys.pair("old").sign_digest(bytes(32))
            held == new or keys.pair("new").sign_digest(bytes(32))
        except TokenError as error:
            # SoftHSM writes its own files in place: a kill there ends the token, not our key
            assert "names 0 tokens" in str(error), error
    apart(use)

apart(begin)
for place in places:
    shutil.copytree(place, folder / "before" / place.name)
old, new = (KeyFiles(places[0], {}).read(key_id) for key_id in ("old", "new"))
found = kill_at_every_write(prepare, lambda: store().move("new", "old"), check)
print(len(found.calls), *sorted(set(found.calls)))
"""


@pytest.mark.faults
def test_kills_in_a_move_keep_the_old_pair_or_the_new(tmp_path: Path, softhsm: SoftHsm) -> None:
    """At every write, keyd's and the token's own, each id is a whole pair that signs."""
    (tmp_path / "softhsm").mkdir()
    try:
        uri = SoftHsm(tmp_path / "softhsm").token("Killed")
        environment = os.environ.copy()
    finally:
        os.environ["SOFTHSM2_CONF"] = str(softhsm.folder / "softhsm2.conf")
    done = subprocess.run(
        [sys.executable, "-c", KILLS.replace("LIBRARY", LIBRARY), str(tmp_path), uri],
        capture_output=True, text=True, timeout=60, check=False,
        env={**environment, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    number, *calls = done.stdout.split()
    assert int(number) > 3
    assert {"rename", "fsync", "unlink"} <= set(calls)


def test_no_private_byte_and_no_pin_leaves_keyd(tmp_path: Path, softhsm: SoftHsm) -> None:
    """Planted bytes are in no answer, no log line, no key file and no core of the process."""
    canary = b"canary-of-private-bytes-canary-1"
    running = Services(tmp_path)
    running.configure(
        "keyd", f'[[principal]]\nuid = {os.getuid()}\nkeys = ["*"]\n[aziot_keys]\n'
        f'pkcs11_lib_path = "{LIBRARY}"\n'
        f'pkcs11_base_slot = "pkcs11:token=Skerry?pin-value={PIN}"\n'
        f'[preloaded_keys]\ngone = "pkcs11:token=Gone;object=x?pin-value={PIN}"\n'
    )  # fmt: skip
    process = running.start("keyd")
    try:
        client = KeysClient(running.socket("keyd"))
        handle = client.create_key("imported", canary)
        answers = [handle, client.create_key_pair("pair")]
        calls: list[tuple[Callable[..., object], tuple[object, ...]]] = [
            (client.load_key_pair, ("gone",)),
            (client.load_key_pair, ("imported",)),
            (client.decrypt, (handle, b"i" * 12, b"", b"\x02" + canary)),
            (client.sign_ecdsa, (handle, canary)),
            (client.create_key, ("gone", canary)),
        ]
        for call, arguments in calls:
            with pytest.raises(ApiError) as caught:
                call(*arguments)
            answers.append(str(caught.value))
        process.send_signal(signal.SIGABRT)
        _, logged = process.communicate(timeout=10)
    finally:
        running.stop()
    assert process.returncode == -signal.SIGABRT
    assert "key store failed" in logged
    assert not [text for text in (*answers, logged) if "canary" in text]
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "config.toml"]
    assert not [path for path in left if b"canary" in path.read_bytes()]
    assert not list(tmp_path.glob("core*")) + list(Path.cwd().glob("core*"))


def test_the_library_is_loaded_only_for_tokens(tmp_path: Path) -> None:
    """A keyd without PKCS#11 has nothing of it in its memory."""
    running = Services(tmp_path)
    running.configure("keyd", f'[[principal]]\nuid = {os.getuid()}\nkeys = ["*"]\n')
    process = running.start("keyd")
    try:
        client = KeysClient(running.socket("keyd"))
        client.sign_hmac(client.create_key("a"), b"m")
        client.sign_ecdsa(client.create_key_pair("b"), DIGEST)
        assert "pkcs11" not in Path(f"/proc/{process.pid}/maps").read_text()
    finally:
        running.stop()


def test_without_the_package_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who configures a token without the optional package learns its name."""
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(TokenError, match="install python3-pkcs11"):
        store(tmp_path).create_pair("x", PairAlgorithm.EC_P256)
