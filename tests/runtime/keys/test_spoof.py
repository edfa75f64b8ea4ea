"""Nobody gets at a key by guessing: other uids, guessed and changed handles, handles of others."""

import base64
import hmac
import json
import random
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from harness.services import Hosted, Services
from harness.tiers import Counts

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
    for _ in range(counts.of("keyd spoofed handles", reduced=2000, full=100_000)):
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
    for _ in range(counts.of("keyd spoofed uids", reduced=1000, full=50_000)):
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
