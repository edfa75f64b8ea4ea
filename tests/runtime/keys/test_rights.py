"""Who may use which key of keyd, by kernel uid, route by route."""

from collections.abc import Iterator

import pytest

from harness.services import Hosted, Services

OWNER, STRANGER = 2001, 2002
KEYD = f'[[principal]]\nuid = {OWNER}\nkeys = ["own-*", "literal[ab]"]\n'


@pytest.fixture(scope="module")
def keyd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A keyd with one principal."""
    running = Services(tmp_path_factory.mktemp("rights"))
    running.configure("keyd", KEYD)
    yield running.host("keyd")
    running.stop()


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("POST /key", {"keyId": "own-key", "usage": "sign"}),
        ("GET /key/own-key", None),
        ("POST /keypair", {"keyId": "own-pair"}),
        ("GET /keypair/own-pair", None),
        ("POST /keypair/own-moved", {"from": "own-pair"}),
        ("POST /key", {"keyId": "literal[ab]", "usage": "sign"}),
    ],
)
def test_ids_are_for_their_principals_and_root(keyd: Hosted, line: str, body: object) -> None:
    """A stranger gets 401 and no reason, the owner and root what they ask for."""
    keyd.call(OWNER, "POST /key", {"keyId": "own-key", "usage": "sign"})
    keyd.call(OWNER, "POST /keypair", {"keyId": "own-pair"})
    assert keyd.call(STRANGER, line, body) == (401, "unauthorized")
    assert keyd.call(OWNER, line, body)[0] in (200, 204)
    keyd.call(OWNER, "POST /keypair", {"keyId": "own-pair"})
    assert keyd.call(0, line, body)[0] in (200, 204)


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("POST /keypair/other", {"from": "own-pair"}),
        ("POST /keypair/own-new", {"from": "other"}),
        ("GET /key/literala", None),
    ],
    ids=["to another's id", "from another's id", "brackets are no wildcard"],
)
def test_owners_have_their_own_ids_only(keyd: Hosted, line: str, body: object) -> None:
    """A move needs both ids, and a pattern knows no more than * and ?."""
    assert keyd.call(OWNER, line, body) == (401, "unauthorized")


def test_a_handle_is_a_capability(keyd: Hosted) -> None:
    """Who was given a handle may use the key without a right to its id."""
    _, answer = keyd.call(OWNER, "POST /key", {"keyId": "own-shared", "usage": "sign"})
    assert isinstance(answer, dict)
    body = {**answer, "algorithm": "HMAC-SHA256", "parameters": {"message": "bQ=="}}
    assert keyd.call(STRANGER, "POST /sign", body)[0] == 200


@pytest.mark.parametrize(
    ("handle", "name"),
    [("rsa-2048", "ec-point"), ("ec-p256", "rsa-modulus"), ("ec-p256", "colour")],
)
def test_parameters_are_of_their_kind(keyd: Hosted, handle: str, name: str) -> None:
    """Asking an RSA key for its point is a mistake of the caller."""
    request = {"keyId": f"own-{handle}", "preferredAlgorithms": handle}
    _, answer = keyd.call(OWNER, "POST /keypair", request)
    told = keyd.call(OWNER, f"POST /parameters/{name}", answer)
    assert told == (400, f"parameter {name!r} is not one of this kind of key pair")
