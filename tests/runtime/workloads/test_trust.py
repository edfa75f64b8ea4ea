"""Which images need a signature, and which signatures hold."""

import base64
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from fakes.docker_engine import DockerEngine
from harness.edged import CONFIG, House
from skerry.base.client import ApiError
from skerry.config.document import read
from skerry.workloads.errors import UntrustedImageError
from skerry.workloads.trust import Rule, Signature, check, whole_name

DIGEST = "sha256:" + "a" * 64
IMAGE = f"registry.example/pump@{DIGEST}"
ECDSA = ec.generate_private_key(ec.SECP256R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = ec.generate_private_key(ec.SECP256R1())
SIGNERS: dict[str, Callable[[bytes], bytes]] = {
    "ECDSA": lambda data: ECDSA.sign(data, ec.ECDSA(SHA256())),
    "Ed25519": EDWARDS.sign,
    "RSA": lambda data: RSA.sign(data, padding.PKCS1v15(), SHA256()),
    "other": lambda data: OTHER.sign(data, ec.ECDSA(SHA256())),
}


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


RULES = (Rule("registry.example/*", (pem(RSA), pem(EDWARDS), pem(ECDSA))),)


def signature(signer: str = "ECDSA", digest: str = DIGEST) -> Signature:
    """Sign as `cosign sign --output-payload --output-signature` does."""
    payload = {
        "critical": {
            "identity": {"docker-reference": "registry.example/pump"},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    data = json.dumps(payload).encode()
    return Signature(
        base64.b64encode(data).decode(), base64.b64encode(SIGNERS[signer](data)).decode()
    )


@pytest.mark.parametrize("signer", ["ECDSA", "Ed25519", "RSA"])
def test_one_of_the_keys_is_enough(signer: str) -> None:
    """Beside it there may be signatures of others."""
    check(IMAGE, [signature("other"), signature(signer)], RULES)


@pytest.mark.parametrize("image", ["localhost/skerry/agent:1", "pump:1", "other.example/pump"])
def test_an_image_that_no_rule_is_for_needs_none(image: str) -> None:
    """Trust is asked for where a rule says so."""
    check(image, [], RULES)


@pytest.mark.parametrize(
    ("image", "signatures", "message"),
    [
        (IMAGE, [], "has no signature, expected one by a key of"),
        (IMAGE, [signature("other")], "its signature is by none of the trusted keys"),
        (IMAGE, [signature(digest="sha256:" + "b" * 64)], "is of another image, 'sha256:bbb"),
        (IMAGE, [Signature("?", "?")], "is not one of cosign's"),
        (IMAGE, [Signature(base64.b64encode(b"[]").decode(), "")], "is not one of cosign's"),
        ("registry.example/pump:1", [signature()], "and so its digest: name it NAME@sha256:"),
    ],
)
def test_what_does_not_hold_is_said(image: str, signatures: list[Signature], message: str) -> None:
    """The image, and what is wrong with it."""
    with pytest.raises(UntrustedImageError, match=message):
        check(image, signatures, RULES)


def test_the_first_rule_counts() -> None:
    """A rule for some images stands before the one for all."""
    rules = (Rule("registry.example/*", (pem(OTHER),)), Rule("*", (pem(ECDSA),)))
    with pytest.raises(UntrustedImageError, match="by none of the trusted keys"):
        check(IMAGE, [signature()], rules)
    check(IMAGE, [signature("other")], rules)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("pump:1", "docker.io/library/pump:1"),
        ("me/pump", "docker.io/me/pump"),
        ("localhost/pump", "localhost/pump"),
        ("registry:5000/pump", "registry:5000/pump"),
    ],
)
def test_a_short_name_does_not_get_round_a_rule(image: str, name: str) -> None:
    """A rule is for the name that the engine would ask for."""
    assert whole_name(image) == name
    with pytest.raises(UntrustedImageError):
        check(image, [], (Rule(name, (pem(ECDSA),)),))


def test_a_module_is_refused_before_anything_is_fetched(house: House, engine: DockerEngine) -> None:
    """422, which the agent takes for never; carried images and the agent itself pass."""
    house.stop_edged()
    key = pem(ECDSA)
    house.configure(f'{CONFIG}[[image_trust]]\nimages = "*"\nkeys = ["""{key}"""]\n')
    house.host()
    house.caller = engine.containers["edgeAgent"].id
    engine.registry[IMAGE] = "sha256:" + "c" * 64
    one = signature()
    settings = {"image": IMAGE, "createOptions": {}}
    spec = {"name": "pump", "type": "docker", "config": {"settings": settings}}
    with pytest.raises(ApiError, match="has no signature") as caught:
        house.client().post("/modules/pump/prepareupdate", spec)
    assert caught.value.status == 422
    assert ("POST", "/images/create") not in engine.calls
    spec["config"] = {"settings": settings, "signatures": [vars(one)]}
    house.client().post("/modules/pump/prepareupdate", spec)


@pytest.mark.parametrize(
    ("keys", "message"),
    [('["nonsense"]', "this is no public key"), ("[]", "0 items")],
)
def test_a_key_that_is_none_is_told_at_its_place(keys: str, message: str) -> None:
    """By `skerry config check`, before it could refuse every image."""
    text = f'[provisioning]\nsource = "standalone"\n[[image_trust]]\nimages = "*"\nkeys = {keys}\n'
    (problem,) = read(text.encode(), "f").problems
    assert problem.key.startswith("image_trust[0].keys")
    assert message in problem.message or message == "0 items"
