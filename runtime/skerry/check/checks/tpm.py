"""The TPM: there, open to tpmd, and not locked, where the identity or a secret depends on it."""

from skerry.base.client import ApiError, UnreachableError
from skerry.check.appliance import Appliance
from skerry.check.checks.services import uses_tpm
from skerry.check.model import Check, Finding, Section, error, ignored, ok, warning
from skerry.tpm.client import TpmClient
from skerry.tpm.model import parse_settings

_DEVICE = "device:"
_MAY_PASS = 503


def _state(appliance: Appliance) -> Finding:
    needed = uses_tpm(appliance)
    tcti = parse_settings(appliance.settings("tpmd")).tcti
    path = appliance.root / "dev/tpmrm0"
    real = tcti == "device" or tcti.startswith(_DEVICE)
    if real and not path.exists():
        if not needed:
            return ignored("this machine has no TPM, and nothing needs one")
        return error(
            "this device proves its identity by a TPM, and there is none: /dev/tpmrm0 is missing",
            "turn the TPM on in the firmware (Security Device, fTPM, PTT); in a virtual machine "
            "add one",
        )
    if not needed:
        return ok("there, not needed")
    try:
        TpmClient(appliance.socket("tpmd")).tpm_keys()
    except ApiError as problem:
        if problem.status == _MAY_PASS:
            return warning(f"the TPM is busy or locked: {problem}", "wait, then try again")
        return error(f"the TPM cannot be used: {problem}", "docs/operations.md lists what helps")
    except UnreachableError as problem:
        return error(f"tpmd does not answer: {problem}", "journalctl -u skerry-tpmd")
    return ok("answers, endorsement and storage keys can be read")


CHECKS = (
    Check(
        "tpm-state",
        Section.APPLIANCE,
        "the TPM can be used",
        _state,
        needs=("identityd-config-well-formed", "tpmd-config-well-formed", "tpmd-running"),
    ),
)
