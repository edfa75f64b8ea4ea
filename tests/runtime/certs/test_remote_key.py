"""Key objects whose bytes stay in keyd."""

import copy
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from harness.services import Services
from skerry.certs import x509
from skerry.certs.errors import ParameterError
from skerry.certs.remote_key import remote_key
from skerry.keys.client import KeysClient

CURVES: list[ec.EllipticCurve] = [ec.SECP384R1(), ec.SECP521R1()]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A keyd with preloaded keys on the larger curves."""
    running = Services(tmp_path_factory.mktemp("keyd"))
    text = f'[[principal]]\nuid = {os.getuid()}\nkeys = ["*"]\n[preloaded_keys]\n'
    for curve in CURVES:
        path = running.folder / f"{curve.name}.pem"
        path.write_bytes(x509.key_pem(ec.generate_private_key(curve)))
        text += f'{curve.name} = "file://{path}"\n'
    running.configure("keyd", text)
    running.host("keyd")
    yield running
    running.stop()


def load(services: Services, algorithm: str) -> x509.PrivateKey:
    """Return a key of keyd; `algorithm` is also its id."""
    keys = KeysClient(services.socket("keyd"))
    return remote_key(keys, keys.create_key_pair(algorithm, algorithm))


@pytest.mark.parametrize(("algorithm", "size"), [("ec-p256", 256), ("rsa-2048", 2048)])
def test_private_bytes_stay_in_keyd(services: Services, algorithm: str, size: int) -> None:
    """Whatever would need them raises; the size is known and a copy is the same key."""
    key: Any = load(services, algorithm)
    calls: list[Callable[[], object]] = [
        lambda: key.private_numbers(),
        lambda: key.private_bytes(None, None, None),
        lambda: key.exchange(None, None) if size == 256 else key.decrypt(b"", None),
    ]
    for call in calls:
        with pytest.raises(ParameterError, match="stay in keyd"):
            call()
    assert key.key_size == size
    assert copy.copy(key) is key
    assert copy.deepcopy(key) is key


@pytest.mark.parametrize("curve", CURVES, ids=["P-384", "P-521"])
def test_requests_are_signed_on_other_curves(services: Services, curve: ec.EllipticCurve) -> None:
    """A request by a preloaded key of a larger curve proves itself."""
    keys = KeysClient(services.socket("keyd"))
    key = remote_key(keys, keys.load_key_pair(curve.name))
    request = x509.load_request(x509.ca_request(x509.common_name("x"), key))
    assert request.public_key() == key.public_key()


def test_only_plain_hashes_are_signed(services: Services) -> None:
    """A digest made elsewhere is not passed on as if it were data."""
    key: Any = load(services, "rsa-2048")
    with pytest.raises(ParameterError, match="not Prehashed"):
        key.sign(bytes(32), padding.PKCS1v15(), Prehashed(hashes.SHA256()))
    with pytest.raises(ParameterError, match="not SHA256"):
        key.sign("text", padding.PKCS1v15(), hashes.SHA256())
