"""What a person is told when the TPM does not do what it should, each on a real TPM."""

import contextlib
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from harness.swtpm import Swtpm, swtpm
from harness.tpmd import Tpmd
from skerry.base.log import Secret
from skerry.tpm.connection import check_device, connect
from skerry.tpm.errors import BusyError, RequestError, TroubleError
from skerry.tpm.model import Settings
from skerry.tpm.trouble import State, explain
from skerry.wire.tpm import STORAGE_TEMPLATE, Attributes, HmacParameters, Public

KEY = b"k" * 32


def with_password(settings: Settings, hierarchy: str, password: str) -> Settings:
    """Return the settings with the password of a hierarchy."""
    if hierarchy == "owner":
        return replace(settings, owner=Secret(password))
    return replace(settings, endorsement=Secret(password))


@pytest.mark.parametrize("hierarchy", ["owner", "endorsement"])
def test_an_owned_tpm_wants_its_password(tpm: Swtpm, tpmd: Tpmd, hierarchy: str) -> None:
    """Not given, wrong and right password; signing needs none; the password is in no message."""
    from tpm2_pytss.constants import ESYS_TR

    blob = tpmd.blob(KEY)
    tpmd.take(blob)
    with tpm.raw() as esapi:
        esapi.hierarchy_change_auth(getattr(ESYS_TR, hierarchy.upper()), b"swordfish")
    with pytest.raises(TroubleError, match=f"its {hierarchy} hierarchy has a password; give it as"):
        tpmd.take(blob)
    assert tpmd.signs_with(KEY)
    tpmd.settings = with_password(tpmd.settings, hierarchy, "carp")
    with pytest.raises(TroubleError, match="is not the password of its") as caught:
        tpmd.take(blob)
    assert "carp" not in str(caught.value)
    tpmd.settings = with_password(tpmd.settings, hierarchy, "swordfish")
    tpmd.take(blob)
    assert tpmd.signs_with(KEY)


@pytest.mark.parametrize("hierarchy", ["owner", "endorsement"])
def test_a_password_that_the_tpm_does_not_have_is_named(tpmd: Tpmd, hierarchy: str) -> None:
    """A password in the settings of a TPM without one is another mistake than a wrong one."""
    blob = tpmd.blob(KEY)
    tpmd.settings = with_password(tpmd.settings, hierarchy, "carp")
    with pytest.raises(TroubleError, match=f"but the {hierarchy} hierarchy of the TPM has no pass"):
        tpmd.take(blob)


def test_a_disabled_endorsement_hierarchy_lets_sign(tpm: Swtpm, tpmd: Tpmd) -> None:
    """A provisioned device goes on; what needs the endorsement key says what is wrong."""
    from tpm2_pytss.constants import ESYS_TR

    blob = tpmd.blob(KEY)
    tpmd.take(blob)
    with tpm.raw() as esapi:
        esapi.hierarchy_control(ESYS_TR.ENDORSEMENT, ESYS_TR.ENDORSEMENT, False)
    assert tpmd.signs_with(KEY)
    for call in (tpmd.public_keys, lambda: tpmd.take(blob)):
        with pytest.raises(TroubleError, match="the endorsement hierarchy of the TPM is disabled"):
            call()


def test_a_disabled_owner_hierarchy_stops_all(tpm: Swtpm, tpmd: Tpmd) -> None:
    """Its keys are out of reach, and the message is not that there are none."""
    from tpm2_pytss.constants import ESYS_TR

    tpmd.take(tpmd.blob(KEY))
    with tpm.raw() as esapi:
        esapi.hierarchy_control(ESYS_TR.OWNER, ESYS_TR.OWNER, False)
    for call in (tpmd.public_keys, tpmd.sign):
        with pytest.raises(TroubleError, match=r"the owner hierarchy .* enable it in the firmware"):
            call()


def test_a_locked_tpm_is_named(tpm: Swtpm, tpmd: Tpmd) -> None:
    """Keys under protection against guessing are locked; the message says how it ends."""
    from tpm2_pytss.constants import ESYS_TR
    from tpm2_pytss.types import TPM2B_PUBLIC, TPM2B_SENSITIVE_CREATE

    wanted = Attributes.SENSITIVE_DATA_ORIGIN | Attributes.USER_WITH_AUTH | Attributes.SIGN
    guarded = Public(wanted, HmacParameters(), b"")
    with tpm.raw() as esapi:
        parent = esapi.tr_from_tpmpublic(0x81000001)
        template = TPM2B_PUBLIC.unmarshal(guarded.marshal())[0]
        private, public, *_ = esapi.create(parent, TPM2B_SENSITIVE_CREATE(), template)
        loaded = esapi.load(parent, private, public)
        esapi.evict_control(ESYS_TR.OWNER, loaded, tpmd.settings.auth_handle)
        esapi.dictionary_attack_parameters(0, 1000, 1000)
    with pytest.raises(BusyError, match=r"locked out .*tpm2_dictionarylockout --clear-lockout"):
        tpmd.sign()
    blob = tpmd.blob(KEY)
    tpmd.take(blob)
    assert tpmd.signs_with(KEY)


def test_a_storage_key_with_a_password_is_named(tpm: Swtpm, tpmd: Tpmd) -> None:
    """Another program may have made the storage root key with a password that nobody told us."""
    from tpm2_pytss.constants import ESYS_TR
    from tpm2_pytss.types import (
        TPM2B_PUBLIC,
        TPM2B_SENSITIVE_CREATE,
        TPMS_SENSITIVE_CREATE,
    )

    with tpm.raw() as esapi:
        esapi.evict_control(ESYS_TR.OWNER, esapi.tr_from_tpmpublic(0x81000001), 0x81000001)
        template = TPM2B_PUBLIC.unmarshal(STORAGE_TEMPLATE.marshal())[0]
        secret = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(userAuth=b"carp"))
        made = esapi.create_primary(secret, template)[0]
        esapi.evict_control(ESYS_TR.OWNER, made, 0x81000001)
    blob = tpmd.blob(KEY)
    with pytest.raises(TroubleError, match="a key of the TPM has a password that is not known"):
        tpmd.take(blob)


def test_a_full_tpm_is_named(tpm: Swtpm, tpmd: Tpmd) -> None:
    """No room for one more key: the one before stays, and the message says what to do."""
    from tpm2_pytss.constants import ESYS_TR
    from tpm2_pytss.TSS2_Exception import TSS2_Exception

    blob = tpmd.blob(KEY)
    with tpm.raw() as esapi:
        made = esapi.create_primary(None, "ecc256:aes128cfb")[0]
        handles = iter(range(0x81005000, 0x81005100))
        with contextlib.suppress(TSS2_Exception):
            while True:
                esapi.evict_control(ESYS_TR.OWNER, made, next(handles))
    with pytest.raises(TroubleError, match="no room for one more persistent key"):
        tpmd.take(blob)
    with tpm.raw() as esapi:
        esapi.evict_control(ESYS_TR.OWNER, esapi.tr_from_tpmpublic(0x81005000), 0x81005000)
    assert tpmd.signs_with(KEY)


def test_a_tpm_1_2_is_named(tmp_path: Path) -> None:
    """An old TPM answers in its own way; the message says that it is too old."""
    too_old = pytest.raises(TroubleError, match=r"this is a TPM 1\.2, a TPM 2\.0 is needed")
    with swtpm(tmp_path / "old", version=1) as old, too_old:
        Tpmd(old, tmp_path / "state").public_keys()


@pytest.mark.parametrize(
    ("tcti", "message"),
    [
        ("swtpm:host=127.0.0.1,port=1", "cannot be reached by tcti 'swtpm:host=127.0.0.1,port=1'"),
        ("nothing:else", "cannot be reached by tcti 'nothing:else'.*a module of libtss2"),
        ("device:/nowhere/tpm", "no TPM 2.0: /nowhere/tpm does not exist; switch the TPM on"),
        ("device:/", "/ cannot be opened: Is a directory"),
    ],
)
def test_a_tpm_out_of_reach_is_named(tcti: str, message: str) -> None:
    """Each way to name a TPM that is not there."""
    with pytest.raises(TroubleError, match=message):
        connect(tcti)


def test_an_old_kernel_device_tells_of_tpm_1_2(tmp_path: Path) -> None:
    """A TPM 1.2 has no /dev/tpmrm0; the kernel tells which version it drives."""
    version = tmp_path / "tpm0" / "tpm_version_major"
    version.parent.mkdir()
    version.write_text("1\n")
    with pytest.raises(TroubleError, match=r"tpmrm0 does not exist: this is a TPM 1\.2"):
        check_device(tmp_path / "tpmrm0", tmp_path)
    version.unlink()
    version.mkdir()
    with pytest.raises(TroubleError, match=r"no TPM 2\.0"):
        check_device(tmp_path / "tpmrm0", tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="root gives up its rights for a moment")
def test_a_device_of_others_is_named(tmp_path: Path) -> None:
    """Without the group of the device, the message names the group and who gives it."""
    device = tmp_path / "tpmrm0"
    device.touch(mode=0o600)
    device.chmod(stat.S_IRUSR)
    tmp_path.chmod(0o755)
    with as_nobody(), pytest.raises(TroubleError, match="has to be in the group tss"):
        check_device(device)


class as_nobody:
    """Acts as the user nobody inside a with statement."""

    def __enter__(self) -> None:
        os.seteuid(65534)

    def __exit__(self, *_: object) -> None:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (0x922, BusyError, "the TPM is busy; ask again"),
        (0x902, BusyError, "no memory for one more key"),
        (0x101, TroubleError, "has failed its own tests; restart the machine"),
        (0x085, TroubleError, "a hierarchy of the TPM is disabled"),
        (0x2C4, TroubleError, "refused with code 0x2c4 while trying"),
        (0x70001, TroubleError, "refused with code 0x70001 while trying"),
    ],
)
def test_every_code_has_words(code: int, kind: type[TroubleError], message: str) -> None:
    """Codes that a simulator does not give on demand: busy, out of memory, failed, unknown."""
    error = explain(code, "trying")
    assert type(error) is kind
    assert message in str(error)


def test_wrong_data_is_the_callers() -> None:
    """The same code is the TPM's trouble where the data is our own."""
    assert isinstance(explain(0x1DF, "importing", wrong="no"), RequestError)
    assert isinstance(explain(0x1DF, "importing"), TroubleError)
    assert State(permanent=1).has_password("owner")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without python3-tpm2-pytss the message says what to install."""
    import sys

    monkeypatch.setitem(sys.modules, "tpm2_pytss", None)
    with pytest.raises(TroubleError, match="install python3-tpm2-pytss"):
        connect("swtpm")
