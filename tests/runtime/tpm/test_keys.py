"""The keys of a real TPM: made, imported, used, and what is left where work is cut short."""

import contextlib
import hashlib
import hmac
import os
import signal
from dataclasses import replace
from functools import partial

import pytest

from harness.kill_points import kill_at_every_write
from harness.swtpm import Swtpm
from harness.tiers import Counts
from harness.tpmd import Nth, Tpmd
from skerry.tpm.errors import BusyError, RequestError, TpmError, TroubleError
from skerry.wire.tpm import (
    ENDORSEMENT_TEMPLATE,
    STORAGE_TEMPLATE,
    ImportBlob,
    TpmDataError,
    parse_import_blob,
    parse_public,
)
from skerry.wire.tpm_credential import make_import_blob

OLD, NEW = b"o" * 32, b"n" * 32


def test_keys_are_made_of_the_usual_templates_and_kept(tpm: Swtpm, tpmd: Tpmd) -> None:
    """Endorsement and storage root key survive the power and are what the TCG's templates say."""
    keys = tpmd.public_keys()
    tpm.restart()
    assert tpmd.public_keys() == keys
    endorsement, storage = map(parse_public, keys)
    assert endorsement.made_by(ENDORSEMENT_TEMPLATE)
    assert storage.made_by(STORAGE_TEMPLATE)


def test_an_imported_key_signs(tpm: Swtpm, tpmd: Tpmd) -> None:
    """HMAC of the TPM is HMAC under the key that was wrapped; a later import replaces it."""
    for key in (OLD, NEW, b"x", b"l" * 64):
        tpmd.take(tpmd.blob(key))
        assert tpmd.signs_with(key)
    tpm.restart()
    assert tpmd.signs_with(b"l" * 64)
    assert tpmd.sign(b"m" * 1024) == hmac.digest(b"l" * 64, b"m" * 1024, "sha256")
    assert list(tpmd.state.iterdir()) == []


def test_the_key_is_nowhere_but_in_the_tpm(tpmd: Tpmd) -> None:
    """What is kept while an import is under way shows nothing of the key."""
    tpmd.take(tpmd.blob(OLD))
    blob = tpmd.blob(NEW)
    kept: list[bytes] = []
    persisted = 0

    def look() -> None:
        kept.extend(path.read_bytes() for path in tpmd.state.iterdir())

    for spared in range(20, 36):
        tpmd.wrap = partial(Nth, spared=spared, act=look)
        tpmd.take(blob)
        persisted += bool(kept)
    assert persisted
    assert all(NEW not in data and OLD not in data for data in kept)


def test_signing_wants_a_key_and_little_data(tpmd: Tpmd) -> None:
    """Before the first import there is nothing to sign with; a TPM signs 1024 bytes."""
    with pytest.raises(RequestError, match="no authentication key was imported yet; provision"):
        tpmd.sign()
    with pytest.raises(RequestError, match="data has 1025 bytes, expected at most 1024"):
        tpmd.sign(bytes(1025))


def test_a_blob_for_another_tpm_is_refused(tpmd: Tpmd) -> None:
    """Whatever part does not fit, the key before it stays."""
    tpmd.take(tpmd.blob(OLD))
    good = parse_import_blob(tpmd.blob(NEW))
    for changed in (
        {"credential": flipped(good.credential)},
        {"secret": flipped(good.secret)},
        {"secret": b""},
        {"credential": b""},
        {"duplicate": flipped(good.duplicate)},
        {"duplicate": b""},
        {"seed": flipped(good.seed)},
        {"public": replace(good.public, unique=hashlib.sha256(b"x").digest())},
        {"public": replace(good.public, attributes=ENDORSEMENT_TEMPLATE.attributes)},
    ):
        blob = ImportBlob(**{**good.__dict__, **changed})
        with pytest.raises(RequestError, match="was made for another TPM, or for keys that"):
            tpmd.take(blob.marshal())
        assert tpmd.signs_with(OLD)


def step(counts: Counts) -> int:
    """Return from how many commands of an import one is cut: the run is a fraction of them."""
    return 36 // counts.of("cut TPM commands of an import", reduced=6, full=36)


def flipped(data: bytes) -> bytes:
    """Return the data with its last bit changed."""
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("had", [OLD, None], ids=["a key before", "no key before"])
def test_a_kill_at_any_command_leaves_the_old_key_or_the_new(
    tpmd: Tpmd, had: bytes | None, counts: Counts
) -> None:
    """kill -9 before each of the TPM's commands of an import: old or new key, never neither."""
    blobs = {key: tpmd.blob(key) for key in (OLD, NEW)}
    seen = set()
    for spared in range(0, 100, step(counts)):
        if had is not None:
            tpmd.take(blobs[OLD])
        killed = in_child_killed_at(tpmd, blobs[NEW], spared)
        if had is None and spared == 0:
            with pytest.raises(RequestError, match="no authentication key"):
                tpmd.sign()
        elif had is not None:
            assert tpmd.signs_with(OLD, NEW)
            seen.add(tpmd.signs_with(NEW))
        tpmd.take(blobs[NEW])
        assert tpmd.signs_with(NEW)
        assert list(tpmd.state.iterdir()) == []
        if not killed:
            break
    assert spared > 10
    assert had is None or seen == {True, False}


def in_child_killed_at(tpmd: Tpmd, blob: bytes, spared: int) -> bool:
    """Import in a process of its own that is killed before a command; False if it got through."""
    child = os.fork()
    if child == 0:
        tpmd.wrap = lambda esapi: Nth(esapi, spared, lambda: os.kill(os.getpid(), signal.SIGKILL))
        try:
            tpmd.take(blob)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    # what the dead left loaded is cleared by the kernel's resource manager, here by the power
    tpmd.tpm.restart()
    return os.WIFSIGNALED(status)


@pytest.mark.faults
def test_a_kill_at_any_write_leaves_the_old_key_or_the_new(tpmd: Tpmd) -> None:
    """kill -9 at each system call of an import that changes files."""
    old, new = tpmd.blob(OLD), tpmd.blob(NEW)

    def check() -> None:
        tpmd.tpm.restart()
        assert tpmd.signs_with(OLD, NEW)

    found = kill_at_every_write(lambda: tpmd.take(old), lambda: tpmd.take(new), check)
    assert {"create", "write", "fsync", "rename", "unlink"} <= set(found.calls), found.calls


def test_a_tpm_that_goes_away_at_any_command_is_named(
    tpm: Swtpm, tpmd: Tpmd, counts: Counts
) -> None:
    """The message says so, and when the TPM is back the key is the old one or the new."""
    old, new = tpmd.blob(OLD), tpmd.blob(NEW)
    for spared in range(0, 100, step(counts)):
        tpmd.take(old)
        tpmd.wrap = partial(Nth, spared=spared, act=tpm.stop)
        with contextlib.suppress(BusyError):
            tpmd.take(new)
        tpmd.wrap = lambda esapi: esapi
        if tpm.process is not None:
            break
        tpm.start()
        assert tpmd.signs_with(OLD, NEW)
    assert spared > 10


def test_a_pending_import_of_a_cleared_tpm_is_dropped(
    tpmd: Tpmd, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that no TPM can use any more is a warning, not a service that cannot sign."""
    tpmd.take(tpmd.blob(OLD))
    pending = tpmd.state / "auth-key.pending"
    for data in (b"", b"nothing", parse_import_blob(tpmd.blob(NEW)).public.marshal() + b"\0\1x"):
        pending.write_bytes(data)
        caplog.clear()
        assert tpmd.signs_with(OLD)
        assert "an import that was cut short cannot be ended" in caplog.text
        assert not pending.exists()


def test_places_taken_by_others_are_left_alone(tpm: Swtpm, tpmd: Tpmd) -> None:
    """A foreign key at the place of the authentication key is named, and stays."""
    from tpm2_pytss.constants import ESYS_TR

    with tpm.raw() as esapi:
        made = esapi.create_primary(None, "rsa2048:aes128cfb")[0]
        esapi.evict_control(ESYS_TR.OWNER, made, tpmd.settings.auth_handle)
    blob = tpmd.blob(NEW)
    for call in (tpmd.sign, lambda: tpmd.take(blob)):
        with pytest.raises(TroubleError, match=r"handle 0x81000100 .* of another program; choose"):
            call()
    tpmd.settings = replace(tpmd.settings, auth_key_index=0x200)
    tpmd.take(blob)
    assert tpmd.signs_with(NEW)


def test_another_storage_key_at_the_usual_place_is_gone_around(tpm: Swtpm, tpmd: Tpmd) -> None:
    """systemd keeps an ECC key there: ours lies beside the authentication key then."""
    from tpm2_pytss.constants import ESYS_TR

    before = tpmd.public_keys()
    with tpm.raw() as esapi:
        handle = esapi.tr_from_tpmpublic(0x81000001)
        esapi.evict_control(ESYS_TR.OWNER, handle, 0x81000001)
        made = esapi.create_primary(None, "ecc256:aes128cfb")[0]
        esapi.evict_control(ESYS_TR.OWNER, made, 0x81000001)
    assert tpmd.public_keys() == before
    tpmd.take(tpmd.blob(NEW))
    assert tpmd.signs_with(NEW)
    with tpm.raw() as esapi:
        assert str(esapi.read_public(esapi.tr_from_tpmpublic(0x81000001))[0].publicArea.type) == (
            "ecc"
        )


@pytest.mark.parametrize(
    ("handle", "what"), [(0x81010001, "endorsement key"), (0x81000101, "storage root key")]
)
def test_a_foreign_key_in_the_way_is_named(tpm: Swtpm, tpmd: Tpmd, handle: int, what: str) -> None:
    """Where there is no other place, the message says how to free it."""
    from tpm2_pytss.constants import ESYS_TR
    from tpm2_pytss.TSS2_Exception import TSS2_Exception

    with tpm.raw() as esapi:
        for place in (handle, 0x81000001):
            try:
                esapi.evict_control(ESYS_TR.OWNER, esapi.tr_from_tpmpublic(place), place)
            except TSS2_Exception:
                assert place == 0x81000101
            made = esapi.create_primary(None, "ecc256:aes128cfb")[0]
            esapi.evict_control(ESYS_TR.OWNER, made, place)
            esapi.flush_context(made)
    with pytest.raises(TroubleError, match=rf"{handle:#x} .* something else than the {what}"):
        tpmd.public_keys()


def test_nothing_but_what_a_tpm_sends_is_wrapped_for(tpmd: Tpmd) -> None:
    """A service that is sent keys of another kind refuses them, and any bytes are a TpmError."""
    endorsement, storage = tpmd.public_keys()
    with pytest.raises(TpmDataError):
        make_import_blob(storage, endorsement, NEW)
    with pytest.raises((TpmError, TpmDataError)):
        tpmd.take(b"\0\0" * 4 + parse_import_blob(tpmd.blob(NEW)).public.marshal())


def test_nothing_stays_loaded(tpm: Swtpm, tpmd: Tpmd) -> None:
    """After work and after failures the TPM holds no key and no session of ours."""
    from tpm2_pytss.constants import TPM2_CAP

    good = tpmd.blob(NEW)
    bad = replace(parse_import_blob(good), duplicate=b"").marshal()
    sealed = tpmd.seal(b"secret", 7)
    for _ in range(10):
        tpmd.take(good)
        tpmd.sign()
        tpmd.unseal(sealed)
        with pytest.raises(RequestError):
            tpmd.take(bad)
    with tpm.raw() as esapi:
        for first in (0x80000000, 0x02000000, 0x03000000):
            _, found = esapi.get_capability(TPM2_CAP.HANDLES, first, 10)
            assert [hex(int(handle)) for handle in found.data.handles] == []
