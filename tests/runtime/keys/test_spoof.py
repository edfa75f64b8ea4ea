"""Nobody gets at a key by guessing: other uids, guessed and changed handles, handles of others."""

import base64
import hmac
import json
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from harness.services import Hosted, Services
from harness.tiers import Counts
from skerry.base.client import ApiError
from skerry.keys.client import KeysClient

OWNER, STRANGER = 2001, 2002
KEYD = f"""
[[principal]]
uid = {OWNER}
keys = ["own-*"]
[[principal]]
uid = {STRANGER}
keys = ["other-*"]
"""
ROUTES = (
    "/sign",
    "/encrypt",
    "/decrypt",
    "/derivedkey",
    "/derivedkey/export",
    "/parameters/ec-point",
)
IDS = ("own-key", "own-pair", "handle-validation-key", "OWN-KEY", "other-/../own-key", "own-key\0")


@pytest.fixture
def keyd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A keyd with the keys of two users."""
    running = Services(tmp_path_factory.mktemp("spoof"))
    running.configure("keyd", KEYD)
    yield running.host("keyd")
    running.stop()


def body(handle: str) -> dict[str, object]:
    """Return a request that is right on every route, but for its handle."""
    return {
        "keyHandle": handle, "baseKeyHandle": handle, "algorithm": "HMAC-SHA256",
        "parameters": {"message": "bQ==", "iv": "aWlpaWlpaWlpaWlp", "aad": ""},
        "plaintext": "bQ==", "ciphertext": "AmQ=", "derivationData": "eA==",
    }  # fmt: skip


def forged(rng: random.Random, good: str) -> str:
    """Return a handle that keyd did not make: guessed, changed, or signed with another key."""
    kind = rng.randrange(5)
    token = json.dumps({"key_id": {"Key": rng.choice(IDS)}, "nonce": "AA=="}).encode()
    if kind == 0:
        signature = hmac.digest(rng.randbytes(32), token, "sha256")
        return f"sr={quoted(token)}&sig={quoted(signature)}"
    if kind == 1:
        return f"sr={quoted(token)}&sig={quoted(rng.randbytes(32))}"
    if kind == 2:
        # somebody else's handle, its signature kept, its content exchanged
        return f"sr={quoted(token)}&sig={good.partition('&sig=')[2]}"
    if kind == 3:
        return f"{good[: rng.randrange(len(good))]}&sr={quoted(token)}"
    position = rng.randrange(3, good.index("&sig="))
    other = rng.choice([char for char in "abcXYZ019" if char != good[position]])
    return good[:position] + other + good[position + 1 :]


def quoted(data: bytes) -> str:
    """Return bytes as a handle carries them."""
    return quote(base64.b64encode(data).decode(), safe="")


def test_no_guess_gets_at_a_key(keyd: Hosted, counts: Counts) -> None:
    """Of many attempts with handles none succeeds, whoever makes them."""
    _, answer = keyd.call(OWNER, "POST /key", {"keyId": "own-key", "usage": "sign,derive"})
    keyd.call(OWNER, "POST /keypair", {"keyId": "own-pair"})
    _, mine = keyd.call(STRANGER, "POST /key", {"keyId": "other-key", "usage": "sign,derive"})
    assert isinstance(answer, dict)
    assert isinstance(mine, dict)
    rng = random.Random(4711)  # noqa: S311 - attempts that can be repeated
    for _ in range(counts.of("keyd spoofed handles", reduced=2000, full=50_000)):
        handle = forged(rng, rng.choice([answer, mine])["keyHandle"])
        uid = rng.choice([OWNER, STRANGER, 0, 65534])
        status, told = keyd.call(uid, f"POST {rng.choice(ROUTES)}", body(handle))
        assert status == 400, (handle, told)
        assert "the key handle is not one of this service" in str(told) or "algorithm" in str(told)


def test_no_other_uid_gets_a_handle(keyd: Hosted, counts: Counts) -> None:
    """Whatever a uid without the right asks for by id, it is refused; the key stays as it was."""
    _, answer = keyd.call(OWNER, "POST /key", {"keyId": "own-key", "usage": "sign,derive"})
    assert isinstance(answer, dict)
    before = keyd.call(OWNER, "POST /sign", body(answer["keyHandle"]))
    rng = random.Random(4712)  # noqa: S311 - attempts that can be repeated
    for _ in range(counts.of("keyd spoofed uids", reduced=1000, full=20_000)):
        uid = rng.choice([STRANGER, 1, 999, 65534, rng.randrange(3, 2**32)])
        key_id = rng.choice(IDS)
        line, request = rng.choice([
            ("POST /key", {"keyId": key_id, "usage": "sign"}),
            ("POST /key", {"keyId": key_id, "usage": "sign", "keyBytes": "AAAA"}),
            (f"GET /key/{quote(key_id, safe='')}", None),
            ("POST /keypair", {"keyId": key_id}),
            (f"GET /keypair/{quote(key_id, safe='')}", None),
            (f"POST /keypair/{quote(key_id, safe='')}", {"from": "other-pair"}),
            ("POST /keypair/other-new", {"from": key_id}),
        ])  # fmt: skip
        if uid == OWNER or key_id.startswith("other-"):
            continue
        assert keyd.call(uid, line, request)[0] in (400, 401), (uid, line)
    assert keyd.call(OWNER, "POST /sign", body(answer["keyHandle"])) == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_the_kernel_s_word_counts_on_the_socket(tmp_path: Path, counts: Counts) -> None:
    """A process of another uid gets nothing over the real socket, whatever it says it is."""
    running = Services(tmp_path)
    running.configure("keyd", KEYD)
    process = running.start("keyd")
    try:
        socket_path = running.socket("keyd")
        good = KeysClient(socket_path).create_key("own-key")
        socket_path.chmod(0o666)
        tmp_path.chmod(0o755)
        attempts = counts.of("keyd spoofs over the socket", reduced=300, full=5_000)
        folder = os.open(tmp_path, os.O_PATH)
        child = os.fork()
        if child == 0:
            status = 2
            try:
                path = Path(f"/proc/self/fd/{folder}/keyd.sock")
                status = _got_something(path, good, attempts)
            finally:
                os._exit(status)
        os.close(folder)
        # every refusal is a line of the log; a full pipe would stop keyd
        assert process.stderr is not None
        threading.Thread(target=process.stderr.read).start()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        running.stop()


def _got_something(path: Path, good: str, attempts: int) -> int:
    """Become a stranger and try; returns 0 when nothing was had, 1 when something was."""
    os.setgroups([])
    os.setresuid(STRANGER, STRANGER, STRANGER)
    rng = random.Random(4713)  # noqa: S311 - attempts that can be repeated
    keys = KeysClient(path)
    for number in range(attempts):
        handle = forged(rng, good)
        calls: list[tuple[Callable[..., object], tuple[object, ...]]] = [
            (keys.sign_hmac, (handle, b"m")),
            (keys.derive, (handle, b"x")),
            (keys.export_derived, (handle,)),
            (keys.load_key, (rng.choice(IDS),)),
            (keys.create_key, ("own-key", b"mine")),
        ]
        call, arguments = calls[number % len(calls)]
        try:
            call(*arguments)
        except ApiError:
            continue
        return 1
    return 0
