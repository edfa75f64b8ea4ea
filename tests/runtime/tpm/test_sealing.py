"""Secrets sealed to the boot: given back in the same one, and in no other."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.swtpm import Swtpm
from harness.tpmd import MakeTpm, Tpmd
from skerry.tpm.errors import ChangedError, RequestError, TroubleError
from skerry.tpm.sealing import Sealed, check_pcrs, parse_sealed
from skerry.wire.tpm import STORAGE_TEMPLATE, TpmDataError, sized


def test_a_secret_comes_back_in_the_same_boot(tpm: Swtpm, tpmd: Tpmd) -> None:
    """Also after the power was cut, and after other PCRs changed; it is not readable outside."""
    sealed = tpmd.seal(b"swordfish", 7, 11)
    assert b"swordfish" not in sealed
    tpm.restart()
    assert tpmd.unseal(sealed) == b"swordfish"
    tpm.extend(8)
    assert tpmd.unseal(sealed) == b"swordfish"
    assert tpmd.unseal(tpmd.seal(b"m" * 128, *range(24))) == b"m" * 128


def test_another_boot_is_named_by_its_pcrs(tpm: Swtpm, tpmd: Tpmd) -> None:
    """The message says which measurement differs."""
    sealed = tpmd.seal(b"swordfish", 7, 11, 12)
    tpm.extend(11)
    tpm.extend(12)
    with pytest.raises(ChangedError, match=r"sealed \(PCR 11, 12\); boot what was") as caught:
        tpmd.unseal(sealed)
    assert caught.value.pcrs == (11, 12)


def test_the_tpm_decides_and_not_the_values_beside(tpm: Swtpm, tpmd: Tpmd) -> None:
    """Who writes the present values into a sealed secret does not get at it."""
    sealed = tpmd.seal(b"swordfish", 11)
    tpm.extend(11)
    present = parse_sealed(tpmd.seal(b"other", 11))
    forged = replace(parse_sealed(sealed), values=present.values)
    with pytest.raises(ChangedError, match="not known which"):
        tpmd.unseal(forged.marshal())


def test_another_tpm_cannot_unseal(tpmd: Tpmd, new_tpm: MakeTpm) -> None:
    """Neither another TPM nor a changed secret: the message says where it belongs."""
    sealed = tpmd.seal(b"swordfish", 7)
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    with pytest.raises(RequestError, match="was sealed by another TPM, or before this one was"):
        tpmd.unseal(changed)
    other = new_tpm()
    with other.raw() as esapi:
        from tpm2_pytss.constants import ESYS_TR

        esapi.clear(ESYS_TR.LOCKOUT)
    with pytest.raises(RequestError, match="was sealed by another TPM, or before this one was"):
        Tpmd(other, tpmd.state).unseal(sealed)


def test_sizes_are_bounded(tpmd: Tpmd) -> None:
    """A TPM holds 1 to 128 bytes."""
    for data in (b"", bytes(129)):
        with pytest.raises(RequestError, match=f"data has {len(data)} bytes, expected 1 to 128"):
            tpmd.seal(data, 7)


def test_a_tpm_without_sha256_pcrs_is_named(tpm: Swtpm, tpmd: Tpmd) -> None:
    """Firmware may have switched that bank off."""
    from tpm2_pytss.constants import ESYS_TR
    from tpm2_pytss.types import TPML_PCR_SELECTION

    none = bytes.fromhex("00000002000403ffffff000b03000000")
    with tpm.raw() as esapi:
        esapi.pcr_allocate(TPML_PCR_SELECTION.unmarshal(none)[0], ESYS_TR.PLATFORM)
    tpm.restart()
    with pytest.raises(TroubleError, match="keeps no SHA-256 PCRs; switch that bank on"):
        tpmd.seal(b"x", 7)


@pytest.mark.parametrize(
    "pcrs",
    [[], [24], [-1], [7, 7], ["7"], [None], [True, 1]],
    ids=["none", "too high", "negative", "twice", "text", "null", "one and true"],
)
def test_pcrs_are_numbers(pcrs: list[object]) -> None:
    """0 to 23, each once, at least one."""
    with pytest.raises(RequestError, match="expected different 0 to 23"):
        check_pcrs(pcrs)


values = st.dictionaries(st.integers(0, 23), st.binary(min_size=32, max_size=32), min_size=1)


@given(values, st.binary(max_size=300))
def test_a_sealed_secret_reads_back(found: dict[int, bytes], private: bytes) -> None:
    """Parsing what was marshalled gives the same parts."""
    sealed = Sealed(dict(sorted(found.items())), STORAGE_TEMPLATE.marshal(), sized(private))
    assert parse_sealed(sealed.marshal()) == sealed


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda data: b"SKTPM1" + data))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    """Nothing but TpmDataError comes of foreign bytes."""
    try:
        found = parse_sealed(data)
    except TpmDataError:
        return
    assert found.marshal() == data
