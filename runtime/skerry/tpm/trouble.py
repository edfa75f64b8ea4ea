"""From a TPM's return codes to what a person can do about them. Pure.

Source of the codes: TCG, Trusted Platform Module Library, part 2, section 6.6; layers of libtss2:
TSS 2.0 overview, section 3.1.
"""

from dataclasses import dataclass

from skerry.tpm.errors import BusyError, RequestError, TroubleError

_LAYER_TCTI = 0x0A
_TPM_12 = (0x1E, 0x80001)
"""TPM_RC_BAD_TAG, and what libtss2 makes of an answer with the tag of TPM 1.2."""
_FORMAT_ONE = 0x80
_HIERARCHY = 0x85
_AUTH_FAIL = 0x8E
_BAD_AUTH = 0xA2
_ABOUT_DATA = {
    _FORMAT_ONE | number
    for number in (
        *(0x01, 0x02, 0x03, 0x04, 0x07, 0x08, 0x09, 0x0A, 0x0C, 0x0D, 0x12, 0x15, 0x16, 0x17),
        *(0x18, 0x1A, 0x1B, 0x1C, 0x1F, 0x20, 0x21, 0x25, 0x26),
    )
}
"""Numbers of format one that find fault with what was sent, and not with passwords or state."""

_LOCKOUT = 0x921
_FAILURE = 0x101
_FAILED = {
    0x100: "the TPM was not started by the firmware; restart the machine",
    _FAILURE: "the TPM has failed its own tests; restart the machine, then update its firmware",
    0x120: "the TPM is disabled; switch it on in the firmware",
    0x14B: "the TPM has no room for one more persistent key; evict one that nothing needs "
    "(`tpm2_getcap handles-persistent`, `tpm2_evictcontrol`)",
    0x143: "the TPM lacks this command; a TPM 2.0 with RSA and HMAC keys is needed",
}
_BUSY = {
    0x902: "the TPM has no memory for one more key: another program holds them",
    0x903: "the TPM has no memory for one more session: another program holds them",
    0x905: "the TPM has no handle for one more session: another program holds them",
    0x908: "the TPM is busy",
    0x909: "the TPM was told to stop by another program",
    0x90A: "the TPM is testing itself",
    0x920: "the TPM spares its memory and takes no writes for the moment",
    0x922: "the TPM is busy",
    0x923: "the TPM's memory is not available for the moment",
}


@dataclass(frozen=True)
class State:
    """What a TPM says of itself: TPM_PT_PERMANENT and TPM_PT_STARTUP_CLEAR."""

    permanent: int = 0
    startup: int = 0

    def has_password(self, hierarchy: str) -> bool:
        """Tell whether the hierarchy, "owner" or "endorsement", has a password."""
        return bool(self.permanent & {"owner": 1, "endorsement": 2}[hierarchy])

    def require(self, hierarchy: str) -> None:
        """Raise TroubleError when the hierarchy is disabled."""
        if not self.startup & {"owner": 2, "endorsement": 4}[hierarchy]:
            raise TroubleError(
                f"the {hierarchy} hierarchy of the TPM is disabled; enable it in the firmware and "
                "restart the machine"
            )


def explain(
    code: int,
    doing: str,
    *,
    wrong: str | None = None,
    hierarchy: str | None = None,
    given: bool = False,
    state: State | None = None,
) -> TroubleError | RequestError:
    """Return the error for a return code.

    `doing` is what was tried. `wrong` is said when the TPM finds the data wrong: then it is the
    caller's. `hierarchy` is the one whose password was used, `given` whether one was configured.
    """
    if code >> 16 & 0xFF == _LAYER_TCTI:
        return BusyError(f"the TPM went away while {doing}; ask again, look at the TPM's device")
    if code in _TPM_12:
        return TroubleError("this is a TPM 1.2, a TPM 2.0 is needed")
    if code == _LOCKOUT:
        return BusyError(
            "the TPM is locked out after wrong passwords; wait until it lets go, or clear the "
            "lockout with `tpm2_dictionarylockout --clear-lockout`"
        )
    kind = code & 0xBF if code & _FORMAT_ONE and code < 1 << 16 else 0
    # a secret encrypted for another key: some TPMs call their failing decryption a failure
    if wrong is not None and (kind in _ABOUT_DATA or code == _FAILURE):
        return RequestError(wrong)
    if code in _BUSY:
        return BusyError(f"{_BUSY[code]}; ask again ({doing})")
    if code in _FAILED:
        return TroubleError(f"{_FAILED[code]} ({doing})")
    if kind == _HIERARCHY:
        return TroubleError(f"a hierarchy of the TPM is disabled ({doing}); look at the firmware")
    if kind in (_BAD_AUTH, _AUTH_FAIL):
        return _refused(doing, hierarchy, given, state or State())
    return TroubleError(f"the TPM refused with code {code:#x} while {doing}")


def _refused(doing: str, hierarchy: str | None, given: bool, state: State) -> TroubleError:
    if hierarchy is None:
        return TroubleError(
            f"a key of the TPM has a password that is not known ({doing}); evict that key if "
            "nothing needs it (`tpm2_evictcontrol`)"
        )
    setting = f"[tpm.hierarchy_authorization] {hierarchy}"
    if not state.has_password(hierarchy):
        return TroubleError(
            f"{setting} is given, but the {hierarchy} hierarchy of the TPM has no password; "
            "remove it from config.toml, or set the password in the TPM"
        )
    if given:
        return TroubleError(
            f"the TPM is owned, and {setting} is not the password of its {hierarchy} hierarchy; "
            "correct it in config.toml"
        )
    return TroubleError(
        f"the TPM is owned: its {hierarchy} hierarchy has a password; give it as {setting} in "
        "config.toml, or clear the TPM in the firmware"
    )
