"""TPMs for the tests of tpmd: each its own swtpm, with keys that were made once."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.swtpm import Swtpm, swtpm
from harness.tpmd import MakeTpm, Tpmd


@pytest.fixture(scope="session")
def made_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a TPM that has its endorsement and storage root key."""
    folder = tmp_path_factory.mktemp("made")
    with swtpm(folder / "tpm") as tpm:
        Tpmd(tpm, folder / "state").public_keys()
    (folder / "tpm" / "log").unlink()
    return folder / "tpm"


@pytest.fixture
def new_tpm(made_keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeTpm]:
    """Makes running TPMs with their keys in them."""
    with ExitStack() as stack:

        def make() -> Swtpm:
            folder = tmp_path_factory.mktemp("tpm") / "state"
            shutil.copytree(made_keys, folder)
            return stack.enter_context(swtpm(folder))

        yield make


@pytest.fixture
def tpm(new_tpm: MakeTpm) -> Swtpm:
    """One TPM with its keys in it."""
    return new_tpm()


@pytest.fixture
def tpmd(tpm: Swtpm, tmp_path: Path) -> Tpmd:
    """tpmd's work without its socket, on that TPM."""
    return Tpmd(tpm, tmp_path / "tpmd")
