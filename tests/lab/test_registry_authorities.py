"""Authorities of the hub: brought, proven, trusted, and trusted no longer."""

import base64
from collections.abc import Mapping
from typing import cast

import pytest

from harness.lab import HUB, Got, Hosted, Signed, signed
from skerry_lab.registry.model import Authentication, AuthType

ROOT = signed("root", authority=True)
LINE = "GET /devices/Edge1/modules"


def ask(hosted: Hosted, line: str, body: object = None, if_match: str | None = None) -> Got:
    policy = hosted.store.do(lambda cloud: cloud.policies.get("iothubowner"))
    assert policy is not None
    token = hosted.token(HUB, policy.keys[0], policy.name)
    return hosted.call(line, body, token=token, version="2021-04-12", if_match=if_match)


def text(certificate: Signed) -> str:
    return base64.b64encode(certificate.pem.encode()).decode()


def bring(hosted: Hosted, **more: object) -> Got:
    properties = {"certificate": text(ROOT), **more}
    return ask(hosted, "PUT /certificates/plant", {"properties": properties})


def properties(got: Got) -> Mapping[str, object]:
    assert got.status == 200, got
    return cast("Mapping[str, object]", got["properties"])


def code(hosted: Hosted) -> str:
    got = ask(hosted, "POST /certificates/plant/generateVerificationCode")
    return str(properties(got)["verificationCode"])


def verify(hosted: Hosted, proof: Signed, if_match: str | None = None) -> Got:
    body = {"certificate": text(proof)}
    return ask(hosted, "POST /certificates/plant/verify", body, if_match)


@pytest.fixture
def shown(hosted: Hosted) -> Signed:
    """The certificate of a device that authenticates by the authority."""
    auth = Authentication(AuthType.CERTIFICATE_AUTHORITY)
    hosted.registry.create_device("Edge1", edge=False, authentication=auth)
    return signed("Edge1", ROOT)


def is_let_in(hosted: Hosted, shown: Signed) -> bool:
    return hosted.call(LINE, certificates=shown.der, version="2021-04-12").status == 200


def test_an_authority_counts_when_it_is_proven(hosted: Hosted, shown: Signed) -> None:
    """Its etag changes with each step; the code is told once and serves once."""
    made = bring(hosted)
    assert properties(made)["isVerified"] is False
    assert properties(made)["subject"] == "CN=root"
    assert not is_let_in(hosted, shown)
    name = code(hosted)
    assert len(name) == 48
    assert "verificationCode" not in properties(ask(hosted, "GET /certificates/plant"))
    stale = verify(hosted, signed(name, ROOT), if_match=f'"{made["etag"]}"')
    assert stale.status == 412
    assert properties(verify(hosted, signed(name, ROOT)))["isVerified"] is True
    assert is_let_in(hosted, shown)
    assert verify(hosted, signed(name, ROOT)).status == 400
    assert (
        "verified already"
        in ask(hosted, "POST /certificates/plant/generateVerificationCode").message
    )


def test_a_proof_that_is_none_is_refused(hosted: Hosted, shown: Signed) -> None:
    """For another name, by another authority, expired, of a code that was replaced, no proof."""
    bring(hosted)
    assert "generate one first" in verify(hosted, signed("x", ROOT)).message
    old, name = code(hosted), code(hosted)
    for proof, problem in (
        (signed(old, ROOT), "expected the verification code"),
        (signed(name), "not signed by"),
        (signed(name, signed("root", authority=True)), "not signed by"),
        (signed(name, ROOT, days=0), "expired"),
    ):
        got = verify(hosted, proof)
        assert (got.status, problem in got.message) == (400, True), got
    none = ask(hosted, "POST /certificates/plant/verify", {"certificate": "bm9uZQ=="})
    assert (none.status, "is none" in none.message) == (400, True)
    assert not is_let_in(hosted, shown)


def test_a_revoked_authority_lets_nobody_in(hosted: Hosted, shown: Signed) -> None:
    """Whoever came by it is looked at again; a second removal finds nothing."""
    bring(hosted, isVerified=True)
    assert is_let_in(hosted, shown)
    hosted.store.do(lambda cloud: cloud.outbox.take())
    assert ask(hosted, "DELETE /certificates/plant", if_match='"other"').status == 412
    assert ask(hosted, "DELETE /certificates/plant").status == 204
    told = hosted.store.do(lambda cloud: cloud.outbox.take())
    assert [str(one.identity) for one in told] == ["Edge1"]
    got = hosted.call(LINE, certificates=shown.der, version="2021-04-12")
    assert (got.status, got.headers["iothub-errorcode"]) == (401, "IotHubUnauthorizedAccess")
    gone = ask(hosted, "DELETE /certificates/plant")
    assert (gone.status, gone.headers["iothub-errorcode"]) == (404, "CertificateNotFound")


def test_an_authority_that_expires_lets_nobody_in(hosted: Hosted, shown: Signed) -> None:
    """Whatever the leaf's own time is."""
    bring(hosted, isVerified=True)
    leaf = signed("Edge1", ROOT, days=90)
    assert is_let_in(hosted, leaf)
    hosted.clock.move(31 * 86400)
    assert not is_let_in(hosted, leaf)


def test_what_is_no_authority_is_refused(hosted: Hosted) -> None:
    """A leaf, or no certificate; nothing is stored."""
    bodies: tuple[dict[str, object], ...] = (
        {},
        {"properties": {}},
        {"properties": {"certificate": "!"}},
        {"properties": {"certificate": text(signed("leaf"))}},
    )
    for body in bodies:
        assert ask(hosted, "PUT /certificates/plant", body).status == 400
    assert ask(hosted, "GET /certificates").body == {"value": []}
