"""Secrets sealed by a real keyd and by a real TPM, through their services."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.services import Services
from harness.swtpm import Swtpm, swtpm
from skerry.keys.client import KeysClient
from skerry.tpm.client import TpmClient
from skerry.workloads.errors import SecretError
from skerry.workloads.keyring import MASTER_KEY
from skerry.workloads.sealing import SECURE_BOOT, KeydSealer, Sealer, TpmSealer

LONG = os.urandom(65536)


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swtpm]:
    with swtpm(tmp_path_factory.mktemp("tpm")) as made:
        yield made


@pytest.fixture(scope="module")
def services(tpm: Swtpm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """keyd and tpmd, which let this user in."""
    folder, uid = tmp_path_factory.mktemp("services"), os.getuid()
    made = Services(folder)
    made.configure("tpmd", f'tcti = "{tpm.tcti}"\n[[principal]]\nuid = {uid}\n')
    made.configure(
        "keyd",
        f'[aziot_keys]\nhomedir_path = "{folder}/keys"\n[preloaded_keys]\n'
        f'[[principal]]\nuid = {uid}\nkeys = ["{MASTER_KEY}"]\n',
    )
    for name in ("keyd", "tpmd"):
        made.host(name)
    yield made
    made.stop()


@pytest.fixture(params=["keyd", "tpm"])
def sealer(request: pytest.FixtureRequest, services: Services) -> Sealer:
    if request.param == "keyd":
        return KeydSealer(KeysClient(services.socket("keyd")))
    return TpmSealer(TpmClient(services.socket("tpmd")))


@pytest.mark.parametrize("value", [b"x", b"\xff\0", LONG], ids=["one", "binary", "long"])
def test_a_secret_comes_back(sealer: Sealer, value: bytes) -> None:
    """Whatever its bytes; what is kept is never the same and does not show it."""
    first, second = sealer.seal("db", value), sealer.seal("db", value)
    assert sealer.unseal("db", first) == sealer.unseal("db", second) == value
    assert first != second
    assert len(value) == 1 or value not in first


def test_a_secret_opens_under_its_own_name_alone(sealer: Sealer) -> None:
    """Who copies a file under another module's secret gets nothing."""
    with pytest.raises(SecretError, match="secret 'other'"):
        sealer.unseal("other", sealer.seal("db", b"x"))


@pytest.mark.parametrize("damage", [b"", b"short", b"\xff" * 200])
def test_what_was_not_sealed_is_refused(sealer: Sealer, damage: bytes) -> None:
    """A damaged file ends in a message, not in a crash."""
    with pytest.raises(SecretError, match="secret 'db'"):
        sealer.unseal("db", damage)


def test_another_secure_boot_does_not_get_it(tpm: Swtpm, services: Services) -> None:
    """A changed PCR 7 is named, with what to do."""
    sealer = TpmSealer(TpmClient(services.socket("tpmd")))
    sealed = sealer.seal("db", b"x")
    tpm.extend(*SECURE_BOOT)
    with pytest.raises(SecretError, match=r"cannot be opened by the TPM: .*PCR 7"):
        sealer.unseal("db", sealed)


def test_a_service_that_is_away_is_named(tmp_path: Path) -> None:
    """The message says which sealer is missing."""
    gone = tmp_path / "gone.sock"
    for sealer in (KeydSealer(KeysClient(gone)), TpmSealer(TpmClient(gone))):
        for call in (sealer.seal, sealer.unseal):
            with pytest.raises(SecretError, match=r"secret 'db' .* by (keyd|the TPM)"):
                call("db", b"\0\0\0\1" * 20)
