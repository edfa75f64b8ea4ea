"""Who may connect to the hub: judged from its scope alone."""

from dataclasses import replace

import pytest

from harness.lab import HUB, START, SetClock, make_token, signed
from skerry.heads.certificates import thumbprints
from skerry.heads.ports import Claim
from skerry.hub.access import Access
from skerry.hub.errors import AccessError, ScopeError
from skerry.hub.scope import Client, Proof, Scope, read_clients
from skerry.wire.identity import Identity
from skerry.wire.topics import UserName

KEY, OTHER = b"k" * 32, b"o" * 32
LEAF, MODULE, EDGE = Identity("leaf"), Identity("edge", "m"), Identity("edge")
NOW = START.timestamp()
ROOT = signed("root", authority=True)
CERTIFICATE = signed("by-ca", ROOT)
SELF = signed("by-print")

SCOPE = Scope().with_clients(
    [
        Client(LEAF, Proof.SAS, (OTHER, KEY)),
        Client(EDGE, Proof.SAS, (OTHER,), is_edge=True),
        Client(MODULE, Proof.SAS, (KEY,)),
        Client(Identity("by-ca"), Proof.AUTHORITY),
        Client(Identity("by-print"), Proof.SELF_SIGNED, (), (thumbprints(SELF.chain[0])[1],)),
        Client(Identity("off"), Proof.SAS, (KEY,), is_enabled=False),
        Client(Identity("off", "m"), Proof.SAS, (KEY,)),
    ]
)


def admit(
    identity: Identity,
    token: str | None = None,
    certificates: tuple[bytes, ...] = (),
    host: str = "GATEWAY.example",
    chain: str = "",
) -> float | None:
    """Judge a claim."""
    access = Access(
        lambda: SCOPE, frozenset({HUB, "gateway.example"}), lambda: [ROOT.chain[0]], SetClock()
    )
    name = UserName(host, identity.device_id, identity.module_id, "2021-04-12", {}, chain)
    return access.admit(Claim(name, token, certificates))


def a_token(path: str, key: bytes = KEY, host: str = HUB, seconds: float = 60.0) -> str:
    return make_token(f"{host}/{path}", key, NOW + seconds)


@pytest.mark.parametrize(
    ("identity", "token"),
    [
        (LEAF, a_token("devices/leaf")),
        (LEAF, a_token("devices/leaf", OTHER)),
        (LEAF, a_token("devices/LEAF", host="gateway.example")),
        (MODULE, a_token("devices/edge/modules/m")),
        (MODULE, a_token("devices/edge", OTHER)),
        (MODULE, a_token("devices/edge/modules/m", OTHER)),
    ],
)
def test_a_token_admits_until_it_expires(identity: Identity, token: str) -> None:
    """By the first or second key, for hub or gateway; a module also by its device's key."""
    assert admit(identity, token) == NOW + 60


@pytest.mark.parametrize(
    ("identity", "token", "said"),
    [
        (Identity("stranger"), a_token("devices/stranger"), "not in the scope"),
        (Identity("off"), a_token("devices/off"), "off is disabled"),
        (Identity("off", "m"), a_token("devices/off/modules/m"), "off/m is disabled"),
        (LEAF, a_token("devices/edge"), "the token is not for leaf"),
        (LEAF, a_token("devices/leaf", host="elsewhere"), "the token is not for leaf"),
        (LEAF, a_token("devices/leaf", b"x" * 32), "signature does not match"),
        (LEAF, a_token("devices/leaf", seconds=-5), "expired 5 s ago"),
        (LEAF, "rubbish", "not a shared access signature"),
        (LEAF, None, "shows neither token nor certificate"),
        (Identity("by-ca"), a_token("devices/by-ca"), "the identity has no key"),
    ],
)
def test_who_is_not_admitted(identity: Identity, token: str | None, said: str) -> None:
    """Each for its own reason."""
    with pytest.raises(AccessError) as refused:
        admit(identity, token)
    assert said in str(refused.value)
    assert refused.value.status == 401


def test_names_that_are_not_this_hubs() -> None:
    """Another host, and a chain of hubs."""
    with pytest.raises(AccessError, match="'elsewhere', which is not this hub"):
        admit(LEAF, a_token("devices/leaf"), host="elsewhere")
    with pytest.raises(AccessError, match="hubs below this hub"):
        admit(LEAF, a_token("devices/leaf"), chain="leaf;edge")


def test_certificates() -> None:
    """A thumbprint, or a chain to the trust bundle with the device's name; each until it ends."""
    for name, good in (("by-ca", CERTIFICATE), ("by-print", SELF)):
        ends = good.chain[0].not_valid_after_utc.timestamp()
        assert admit(Identity(name), None, good.der) == ends
    for identity, shown in [
        (Identity("by-ca"), signed("another", ROOT).der),
        (Identity("by-ca"), signed("by-ca").der),
        (Identity("by-print"), CERTIFICATE.der),
        (MODULE, CERTIFICATE.der),
        (LEAF, (b"rubbish",)),
    ]:
        with pytest.raises(AccessError):
            admit(identity, None, shown)


def test_a_scope_is_kept_as_it_is() -> None:
    """What is written is read again."""
    whole = replace(SCOPE.clients[EDGE], scope="s", parents=("p",), generation_id="g")
    scope = SCOPE.with_clients([whole])
    assert Scope.parse(scope.to_bytes()) == scope
    assert "k" * 32 not in repr(scope)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({}, "no list"),
        ([{"deviceId": 1}], "no 'deviceId'"),
        ([{"deviceId": "d", "authentication": {"type": "?"}}], "of 'd' what cannot be read"),
        (
            [{"deviceId": "d", "authentication": {"symmetricKey": {"primaryKey": "="}}}],
            "of 'd' what cannot be read",
        ),
    ],
)
def test_a_scope_that_cannot_be_read(entries: object, said: str) -> None:
    """The entry is named."""
    with pytest.raises(ScopeError, match=said):
        read_clients(entries)
    with pytest.raises(ScopeError, match="not JSON"):
        Scope.parse(b"{")
