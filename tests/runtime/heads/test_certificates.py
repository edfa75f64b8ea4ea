"""Whether a client's chain leads to an enrolled authority."""

from datetime import datetime, timedelta

import pytest

from harness.lab import START, Signed, signed
from skerry.heads.certificates import (
    CertificateError,
    find_anchor,
    proven_until,
    read_chain,
    read_pem,
)


@pytest.fixture(scope="module")
def root() -> Signed:
    return signed("root", authority=True)


@pytest.fixture(scope="module")
def intermediate(root: Signed) -> Signed:
    return signed("intermediate", root, authority=True)


def leads(device: Signed, anchor: Signed, *, only_leaf: bool = False) -> bool:
    chain = list(device.chain[:1] if only_leaf else device.chain)
    return find_anchor(chain, [anchor.chain[0]], START) == anchor.chain[0]


def test_a_leaf_leads_to_its_root_and_to_its_intermediate(
    root: Signed, intermediate: Signed
) -> None:
    """Both may be enrolled; with the intermediate enrolled the leaf alone is enough."""
    device = signed("device", intermediate)
    assert leads(device, root)
    assert leads(device, intermediate, only_leaf=True)
    assert not leads(device, root, only_leaf=True)


def test_the_order_of_the_chain_does_not_matter(root: Signed, intermediate: Signed) -> None:
    """Some clients send their authorities in another order."""
    device = signed("device", intermediate)
    shuffled = [device.chain[0], device.chain[2], device.chain[1]]
    assert find_anchor(shuffled, [root.chain[0]], START) == root.chain[0]


def test_a_proof_ends_with_the_first_of_its_certificates() -> None:
    """The leaf's own date is not all: an authority above it may end before."""
    top = signed("top", authority=True, days=20)
    brief = signed("brief", top, authority=True, days=5)
    device = signed("device", brief, days=10)
    ends = proven_until(device.chain, [top.chain[0]], START)
    assert ends == brief.chain[0].not_valid_after_utc
    assert proven_until(device.chain, [signed("other", authority=True).chain[0]], START) is None


def test_a_namesake_does_not_count(root: Signed) -> None:
    """Another authority of the same name has another key."""
    assert not leads(signed("device", signed("root", authority=True)), root)


def test_a_device_signs_no_device(root: Signed) -> None:
    """A leaf of the root is no authority."""
    assert not leads(signed("other", signed("device", root)), root)


def test_the_path_length_is_kept() -> None:
    """An authority for leaves only signs no authority that counts."""
    top = signed("top", authority=True, path_length=0)
    assert leads(signed("device", top), top)
    assert not leads(signed("device", signed("middle", top, authority=True)), top)


@pytest.mark.parametrize("start", [START - timedelta(days=60), START + timedelta(days=1)])
def test_every_part_has_to_be_in_time(root: Signed, start: datetime) -> None:
    """An expired or future authority between leaf and anchor breaks the chain."""
    middle = signed("middle", root, authority=True, start=start)
    assert not leads(signed("device", middle), root)


def test_what_is_no_certificate_is_refused() -> None:
    """Neither DER nor PEM of anything else is taken."""
    with pytest.raises(CertificateError, match="the client's certificate cannot be read"):
        read_chain([b"\x30\x03\x02\x01\x01"])
    with pytest.raises(CertificateError, match="not a certificate, expected PEM"):
        read_pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
