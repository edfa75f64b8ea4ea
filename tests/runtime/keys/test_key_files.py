"""Key files that are not what they should be, and writes that are cut short."""

import base64
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from harness.services import Services
from harness.tiers import Counts
from skerry.base.errors import SkerryError
from skerry.base.files import id_file_name
from skerry.base.log import get_logger
from skerry.keys.api import KeysApi
from skerry.keys.client import KeysClient
from skerry.keys.envelope import load
from skerry.keys.errors import KeyFileError, ParameterError
from skerry.keys.material import FileKey, public_parameter
from skerry.keys.model import PairAlgorithm, Settings
from skerry.keys.store import KeyStore

LOG = get_logger("keyd")
FILE = id_file_name("cut", ".key")
WRITER = """
import sys
from pathlib import Path
from skerry.base.log import get_logger
from skerry.keys.store import KeyStore
store = KeyStore(Path(sys.argv[1]), {}, get_logger("keyd"))
print("ready", flush=True)
while True:
    for byte in (b"a", b"b"):
        store.put_symmetric("cut", byte * 4096)
"""


def pem(key: PrivateKeyTypes, password: bytes | None = None) -> bytes:
    """Return a private key as a file holds it."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def preloaded(tmp_path: Path, content: bytes) -> KeyStore:
    """Return a store whose key `given` is a file with this content."""
    path = tmp_path / "given.key"
    path.write_bytes(content)
    return KeyStore(tmp_path / "state", {"given": path}, LOG)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", r"given\.key is empty", id="empty"),
        pytest.param(b"\x00raw\xff" * 6, "does not hold a private key in PEM", id="raw bytes"),
        pytest.param(
            pem(ec.generate_private_key(ec.SECP256R1()))[:-60],
            "does not hold a private key in PEM",
            id="cut off",
        ),
        pytest.param(
            pem(ec.generate_private_key(ec.SECP256R1()), b"password"),
            "without a password",
            id="encrypted",
        ),
        pytest.param(
            pem(ed25519.Ed25519PrivateKey.generate()), "neither an EC nor an RSA key", id="ed25519"
        ),
        pytest.param(
            pem(ec.generate_private_key(ec.SECP256K1())),
            "is on curve secp256k1, expected P-256, P-384 or P-521",
            id="curve",
        ),
        pytest.param(b"x" * (64 * 1024 + 1), "has 65537 bytes, expected at most", id="too large"),
    ],
)
def test_a_file_that_is_no_key_pair_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    """The message has the path and what is wrong, and none of the content."""
    store = preloaded(tmp_path, content)
    with pytest.raises(KeyFileError, match=message) as caught:
        store.pair("given")
    assert str(tmp_path / "given.key") in str(caught.value)


def test_an_empty_symmetric_key_is_named(tmp_path: Path) -> None:
    """A key of no bytes would sign for everybody."""
    with pytest.raises(KeyFileError, match=r"given\.key is empty"):
        preloaded(tmp_path, b"").symmetric("given")


def test_a_missing_preloaded_key_names_its_file(tmp_path: Path) -> None:
    """Who forgot to put a key where the settings say learns where that is."""
    store = preloaded(tmp_path, b"x")
    (tmp_path / "given.key").unlink()
    with pytest.raises(ParameterError, match=rf"no key 'given': no file {tmp_path}/given.key"):
        store.symmetric("given")


@pytest.mark.parametrize(
    ("curve", "oid"),
    [(ec.SECP384R1(), "2b81040022"), (ec.SECP521R1(), "2b81040023")],
    ids=["P-384", "P-521"],
)
def test_other_curves_are_used_as_they_are(
    tmp_path: Path, curve: ec.EllipticCurve, oid: str
) -> None:
    """A preloaded key keeps its curve, in its parameters and in its signatures."""
    key = ec.generate_private_key(curve)
    pair = preloaded(tmp_path, pem(key)).pair("given")
    assert (
        public_parameter(pair.public(), "ec-curve-oid")
        == base64.b64encode(bytes.fromhex(oid)).decode()
    )
    digest = bytes(48)
    key.public_key().verify(pair.sign_digest(digest), digest, ec.ECDSA(Prehashed(hashes.SHA384())))


def test_rsa_pairs_have_the_size_that_was_asked(tmp_path: Path) -> None:
    """The number in the algorithm's name is the size of the modulus."""
    store = KeyStore(tmp_path, {}, LOG)
    store.create_pair("rsa", PairAlgorithm.RSA_2048)
    public = store.pair("rsa").public()
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size == 2048


def test_a_state_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    """The service cannot start, and says with which path."""
    (tmp_path / "keys").write_text("in the way")
    with pytest.raises(SkerryError, match=rf"state folder {tmp_path}/keys cannot be used"):
        KeyStore(tmp_path, {}, LOG)


def test_leftovers_of_a_cut_write_are_removed(tmp_path: Path) -> None:
    """A temporary file may hold key bytes; the next start clears it away."""
    store = KeyStore(tmp_path, {}, LOG)
    store.put_symmetric("kept", b"kept")
    leftover = tmp_path / "keys" / f".{id_file_name('kept', '.key')}.0123456789ab.tmp"
    leftover.write_bytes(b"half a k")
    assert KeyStore(tmp_path, {}, LOG).symmetric("kept") == FileKey(b"kept")
    assert not leftover.exists()


def test_kill_in_the_middle_of_writes_keeps_old_or_new(tmp_path: Path, counts: Counts) -> None:
    """Whenever a writer is killed, the key is one of those it wrote, whole."""
    for _ in range(counts.of("keyd kills in writes", reduced=3, full=100)):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            seen: set[bytes] = set()
            path = tmp_path / "keys" / FILE
            while len(seen) < 2:
                if path.exists():
                    seen.add(load(path.read_bytes()).data)
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            process.communicate()
        assert KeyStore(tmp_path, {}, LOG).symmetric("cut") in (
            FileKey(b"a" * 4096),
            FileKey(b"b" * 4096),
        )
        assert [path.name for path in (tmp_path / "keys").iterdir()] == [FILE]


def test_no_key_bytes_in_the_log(tmp_path: Path) -> None:
    """Whatever fails, what keyd logs and answers holds nothing of a key."""
    canary = b"canary-of-private-bytes-canary-1"
    running = Services(tmp_path)
    running.configure(
        "keyd", f'[[principal]]\nuid = {os.getuid()}\nkeys = ["*"]\n[preloaded_keys]\n'
        f'given = "file://{tmp_path}/given.key"\n'
    )  # fmt: skip
    (tmp_path / "given.key").write_bytes(canary)
    process = running.start("keyd")
    try:
        client = KeysClient(running.socket("keyd"))
        handle = client.create_key("imported", canary)
        answers = [handle, client.load_key("given")]
        for call in (
            lambda: client.load_key_pair("given"),
            lambda: client.decrypt(handle, b"i" * 12, b"", b"\x02" + canary),
            lambda: client.sign_ecdsa(handle, canary),
            lambda: client.create_key("given", canary),
        ):
            with pytest.raises(SkerryError) as caught:
                call()
            answers.append(str(caught.value))
        process.terminate()
        _, logged = process.communicate(timeout=10)
    finally:
        running.stop()
    assert process.returncode == 0
    assert "key store failed" in logged
    assert not [text for text in (*answers, logged) if "canary" in text]


def test_keyd_forbids_core_dumps(tmp_path: Path) -> None:
    """The limit of the running process is zero, and only root may read its memory."""
    running = Services(tmp_path)
    running.configure("keyd", "")
    process = running.start("keyd")
    try:
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert line.split()[4:6] == ["0", "0"]
        assert Path(f"/proc/{process.pid}/mem").stat().st_uid == 0
    finally:
        running.stop()


def test_the_handle_key_is_made_once(tmp_path: Path) -> None:
    """Handles stay good over restarts because the key that seals them stays."""
    settings = Settings({}, (), 10)
    store = KeyStore(tmp_path, {}, LOG)
    KeysApi(settings, store, get_logger("keyd"))
    first = store.own_key("handle-validation-key")
    KeysApi(settings, KeyStore(tmp_path, {}, LOG), get_logger("keyd"))
    assert KeyStore(tmp_path, {}, LOG).own_key("handle-validation-key") == first
