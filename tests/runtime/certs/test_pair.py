"""A key pair and its certificate under one id: settled after a kill, renewed as one."""

from pathlib import Path

import pytest

from harness.clock import MovableClock
from harness.direct import DirectCerts, DirectKeys
from skerry.base.client import ApiError
from skerry.certs import x509
from skerry.certs.pair import Pair
from skerry.certs.remote_key import remote_key
from skerry.certs.x509 import PrivateKey

ENTRY: dict[str, object] = {"method": "self_signed"}


class House:
    """keyd and certd below a folder, and the pair `device-id`."""

    def __init__(self, folder: Path) -> None:
        self.key_files = folder / "keyd" / "keys"
        self.keys = DirectKeys(folder / "keyd")
        self.cert_files = folder / "certd" / "certs"
        issuance: dict[str, object] = {"device-id": ENTRY, "device-id-temp": ENTRY}
        self.certs = DirectCerts(folder / "certd", issuance, self.keys, MovableClock())
        self.pair = Pair("device-id", self.keys, self.certs)

    def key(self, name: str = "device-id") -> object:
        """Return the public half of a key."""
        return remote_key(self.keys, self.keys.load_key_pair(name)).public_key()


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Nothing yet."""
    return House(tmp_path)


def request(key: PrivateKey) -> bytes:
    """Return the request of a device."""
    return x509.client_request(x509.common_name("house"), ["house"], key)


def test_there_is_none_before_it_is_issued(house: House) -> None:
    """Then there is one whose key and certificate belong together."""
    assert house.pair.current() is None
    made = house.pair.issue(request)
    assert made.pem == house.certs.get("device-id")
    assert made.chain[0].public_key() == house.key()


@pytest.mark.parametrize("rotate", [True, False])
def test_a_staged_renewal_changes_nothing_before_its_commit(house: House, rotate: bool) -> None:
    """Then key and certificate are the new ones, and nothing is left under the temporary id."""
    old = house.pair.issue(request)
    staged = house.pair.stage(request, rotate_key=rotate)
    current = house.pair.current()
    assert current is not None
    assert current.pem == old.pem
    committed = house.pair.commit(staged)
    current = house.pair.current()
    assert current is not None
    assert current.pem == committed.pem == staged.current.pem
    assert (current.chain[0].public_key() != old.chain[0].public_key()) is rotate
    with pytest.raises(ApiError, match="no certificate 'device-id-temp'"):
        house.certs.get("device-id-temp")
    with pytest.raises(ApiError, match="no key 'device-id-temp'"):
        house.keys.load_key_pair("device-id-temp")


def test_a_move_that_was_cut_off_is_finished(house: House) -> None:
    """The certificate is in place, its key is not yet: the state that a kill can leave."""
    house.pair.issue(request)
    staged = house.pair.stage(request, rotate_key=True)
    house.certs.put("device-id", staged.current.pem)
    current = house.pair.current()
    assert current is not None
    assert current.chain[0].public_key() == house.key()
    assert current.pem == staged.current.pem


def test_what_does_not_belong_together_is_no_pair(house: House) -> None:
    """A certificate of a foreign key, with or without a renewal under way."""
    house.pair.issue(request)
    handle = house.keys.create_key_pair("foreign")
    house.certs.put("foreign", house.certs.get("device-id"))
    assert Pair("foreign", house.keys, house.certs).current() is None
    house.keys.create_key_pair("foreign-temp")
    assert Pair("foreign", house.keys, house.certs).current() is None
    house.keys.delete_key_pair(handle)
    assert Pair("foreign", house.keys, house.certs).current() is None


def test_a_try_that_failed_leaves_its_key_to_the_next(house: House) -> None:
    """A server that put an enrolment off is asked again with the same key."""
    house.pair.issue(request)
    house.keys.create_key_pair("device-id-temp")
    key = house.key("device-id-temp")
    assert house.pair.stage(request, rotate_key=True).current.chain[0].public_key() == key


def test_a_service_that_fails_is_not_taken_for_an_empty_one(house: House) -> None:
    """An internal error is no "not found": nothing is made anew because of it."""
    house.pair.issue(request)
    for file in house.key_files.glob("deviceid-*"):
        file.write_bytes(b"broken")
    with pytest.raises(ApiError, match="internal error"):
        house.pair.current()
    for file in house.cert_files.glob("deviceid-*"):
        file.write_bytes(b"broken")
    with pytest.raises(ApiError, match="internal error"):
        house.pair.current()
