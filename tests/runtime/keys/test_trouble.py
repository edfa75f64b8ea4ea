"""keyd's disk is full, its files are not its own, its caller asks for what a key is not for."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harness.services import Services
from skerry.base.client import ApiError, ServiceClient
from skerry.base.log import get_logger
from skerry.keys.client import KeysClient
from skerry.keys.envelope import Entry, Kind, dump
from skerry.keys.errors import KeyFileError, ParameterError
from skerry.keys.material import FileKey
from skerry.keys.model import PairAlgorithm, Use
from skerry.keys.store import KeyStore

LOG = get_logger("keyd")
WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from skerry.base.log import get_logger
from skerry.keys.store import KeyStore
store = KeyStore(Path(sys.argv[1]), {}, get_logger("keyd"))
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    store.put_symmetric("a", b"n" * 32)
except Exception as error:
    print(type(error).__name__, error)
"""


def run(folder: Path, kind: str, *before: str) -> str:
    """Import a key where there is no room; returns what was raised."""
    command = [*before, sys.executable, "-c", WITHOUT_ROOM, str(folder), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


def test_without_room_the_old_key_stays(tmp_path: Path) -> None:
    """The error names the file and the reason; nothing half-written is left."""
    store = KeyStore(tmp_path, {}, LOG)
    store.put_symmetric("a", b"o" * 32)
    (file,) = (tmp_path / "keys").iterdir()
    said = run(tmp_path, "limit")
    assert said == (
        f"KeyFileError key file {file} cannot be written: File too large; the key is what it was\n"
    )
    assert KeyStore(tmp_path, {}, LOG).symmetric("a") == FileKey(b"o" * 32)
    assert list((tmp_path / "keys").iterdir()) == [file]


@pytest.mark.root
def test_a_full_disk_leaves_the_old_key(tmp_path: Path) -> None:
    """The same on a file system that really has no block left."""
    script = """
        mount -t tmpfs -o size=64k none "$1" && mkdir "$1/keys"
        "$3" -c "$4" "$1" plain && cp -r "$1/keys" "$2/before"
        dd if=/dev/zero of="$1/filler" 2>/dev/null || true
        "$3" -c "$4" "$1" plain; cp -r "$1/keys" "$2/after"
    """
    full, kept = tmp_path / "full", tmp_path / "kept"
    full.mkdir()
    kept.mkdir()
    arguments = [str(full), str(kept), sys.executable, WITHOUT_ROOM]
    command = ["unshare", "-m", "sh", "-ec", script, "sh", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "cannot be written: No space left on device; the key is what it was" in done.stdout
    before, after = (
        {p.name: p.read_bytes() for p in (kept / n).iterdir()} for n in ("before", "after")
    )
    assert before == after


def test_a_full_disk_is_an_internal_error(tmp_path: Path) -> None:
    """The caller learns nothing of the insides, the log has the reason, keyd goes on."""
    running = Services(tmp_path)
    running.configure("keyd", f'[[principal]]\nuid = {os.getuid()}\nkeys = ["*"]\n')
    running.host("keyd")
    try:
        keys = KeysClient(running.socket("keyd"))
        handle = keys.create_key("here")
        folder = tmp_path / "keyd/state/keys"
        folder.rename(tmp_path / "away")
        with pytest.raises(ApiError, match=r"^internal error$") as caught:
            keys.create_key("there")
        assert caught.value.status == 500
        (tmp_path / "away").rename(folder)
        assert keys.sign_hmac(handle, b"m") == keys.sign_hmac(keys.load_key("here"), b"m")
    finally:
        running.stop()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("folder", "is not a regular file"),
        ("pipe", "is not a regular file"),
        ("big", "expected at"),
    ],
)
def test_what_is_no_file_is_no_key(tmp_path: Path, kind: str, message: str) -> None:
    """A pipe does not hold up the service, a huge file does not fill its memory."""
    path = tmp_path / "given"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(KeyFileError, match=f"key file {path} .*{message}"):
        KeyStore(tmp_path / "state", {"given": path}, LOG).symmetric("given")


def test_a_file_of_another_user_is_named(tmp_path: Path) -> None:
    """keyd says which file it may not read, and why."""
    path = tmp_path / "given"
    path.write_bytes(b"k" * 32)
    path.chmod(0)
    code = (
        "import os, sys; from pathlib import Path; from skerry.base.log import get_logger\n"
        "from skerry.keys.store import KeyStore\n"
        "store = KeyStore(Path(sys.argv[1]) / 'state', {'given': Path(sys.argv[1]) / 'given'}, "
        "get_logger('keyd'))\n"
        "os.getuid() or os.setresuid(65534, 65534, 65534)\n"
        "try: store.symmetric('given')\nexcept Exception as error: print(error)\n"
    )
    tmp_path.chmod(0o755)
    descriptor = os.open(tmp_path, os.O_PATH)
    done = subprocess.run(
        [sys.executable, "-c", code, f"/proc/self/fd/{descriptor}"],
        capture_output=True, text=True, timeout=30, check=True, pass_fds=[descriptor],
    )  # fmt: skip
    os.close(descriptor)
    assert done.stdout.endswith("given cannot be read: Permission denied\n")


def test_a_cut_key_file_is_told_from_a_key(tmp_path: Path) -> None:
    """A symmetric key that lost its end would sign with another key; its checksum tells."""
    store = KeyStore(tmp_path, {}, LOG)
    store.put_symmetric("cut", b"k" * 32)
    (file,) = (tmp_path / "keys").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(KeyFileError, match="is cut or changed: its checksum does not match"):
        store.symmetric("cut")


def test_the_kind_of_a_key_is_told(tmp_path: Path) -> None:
    """A pair is no symmetric key; keyd's own key is not what somebody put in its place."""
    store = KeyStore(tmp_path, {}, LOG)
    store.create_pair("own", PairAlgorithm.EC_P256)
    with pytest.raises(ParameterError, match="key 'own' is a key pair, expected a symmetric key"):
        store.symmetric("own")
    with pytest.raises(KeyFileError, match="is not this service's own key"):
        store.own_key("own")
    (file,) = (tmp_path / "keys").iterdir()
    file.write_bytes(dump(Entry(Kind.TOKEN_SYMMETRIC, b"i")))
    with pytest.raises(ParameterError, match="is a symmetric key, expected a key pair"):
        store.pair("own")
    store.put_symmetric("own", b"k")
    with pytest.raises(ParameterError, match="is a symmetric key, expected a key pair"):
        store.pair("own")
    (tmp_path / "big").write_bytes(b"k" * 4097)
    big = KeyStore(tmp_path / "other", {"big": tmp_path / "big"}, LOG)
    with pytest.raises(KeyFileError, match="has 4097 bytes, expected at most 4096"):
        big.symmetric("big")


def test_keys_are_kept_in_memory_until_their_file_changes(tmp_path: Path) -> None:
    """A file that somebody exchanges counts at once; many keys do not fill the memory."""
    path = tmp_path / "given"
    path.write_bytes(b"first")
    many = {str(number): path for number in range(300)}
    store = KeyStore(tmp_path / "state", {"given": path, **many}, LOG)
    first = store.symmetric("given")
    assert store.symmetric("given") is first
    path.write_bytes(b"second")
    assert store.symmetric("given") == FileKey(b"second")
    for key_id in many:
        store.symmetric(key_id)
    assert store.symmetric("given") == FileKey(b"second")


@pytest.mark.parametrize("made_for", [Use.SIGN, Use.ENCRYPT, Use.DERIVE])
def test_a_key_does_what_it_was_made_for(tmp_path: Path, made_for: Use) -> None:
    """Every operation asks for its use, also after a restart and for keys derived from it."""
    running = Services(tmp_path)
    running.configure("keyd", f'[[principal]]\nuid = {os.getuid()}\nkeys = ["*"]\n')
    keyd = running.host("keyd")
    try:
        status, answer = keyd.call(0, "POST /key", {"keyId": "k", "usage": made_for})
        assert status == 200
        assert isinstance(answer, dict)
        handle = answer["keyHandle"]
        calls: dict[Use, tuple[str, dict[str, object]]] = {
            Use.SIGN: ("/sign", {"keyHandle": handle, "algorithm": "HMAC-SHA256",
                                 "parameters": {"message": "bQ=="}}),
            Use.ENCRYPT: ("/encrypt", {"keyHandle": handle, "algorithm": "AEAD", "plaintext": "",
                                       "parameters": {"iv": "aWlpaWlpaWlpaWlp", "aad": ""}}),
            Use.DERIVE: ("/derivedkey", {"baseKeyHandle": handle, "derivationData": "eA=="}),
        }  # fmt: skip
        refusal = "the key is not for use {!r}, it was made for " + made_for
        for use, (path, body) in calls.items():
            status, told = keyd.call(0, f"POST {path}", body)
            expected = (200, None) if use is made_for else (400, refusal.format(str(use)))
            assert (status, None if status == 200 else told) == expected
        more = {"keyId": "k", "usage": "derive,encrypt,sign"}
        assert keyd.call(0, "POST /key", more)[0] == 400
        assert keyd.call(0, "POST /key", {"keyId": "k", "usage": made_for})[0] == 200
    finally:
        running.stop()


def test_requests_that_are_not_objects_are_refused(tmp_path: Path) -> None:
    """Each route says what it expected."""
    running = Services(tmp_path)
    running.configure("keyd", f'[[principal]]\nuid = {os.getuid()}\nkeys = ["*"]\n')
    running.host("keyd")
    try:
        client = ServiceClient(running.socket("keyd"), "2020-09-01")
        for path in ("/key", "/keypair", "/sign", "/encrypt", "/decrypt", "/derivedkey/export"):
            with pytest.raises(ApiError, match="expected a JSON object") as caught:
                client.post(path, [1])
            assert caught.value.status == 422
    finally:
        running.stop()
