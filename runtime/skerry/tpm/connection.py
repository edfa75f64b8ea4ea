"""Reaching the TPM: through the kernel's resource manager, or what `tcti` names.

The library is loaded at the first use only: a device without a TPM runs tpmd without it.
"""

import errno
import os
from pathlib import Path
from typing import Any

from skerry.tpm.errors import BusyError, TroubleError

DEVICE = Path("/dev/tpmrm0")
_CLASS = Path("/sys/class/tpm")
_LEVEL = "TSS2_LOG"


def connect(tcti: str, system: Path = _CLASS) -> Any:
    """Return an ESAPI context, to be used as a context manager. Raises: TroubleError.

    `tcti` is upstream's setting: `device`, `device:PATH`, `NAME:CONFIGURATION` of a libtss2 module,
    or empty to let the library look.
    """
    name, _, configuration = tcti.partition(":")
    if name == "device":
        configuration = configuration or str(DEVICE)
        check_device(Path(configuration), system)
    # the library writes its own lines to standard error; ours say what is needed
    os.environ.setdefault(_LEVEL, "all+NONE")
    try:
        from tpm2_pytss import ESAPI, TSS2_Exception
    except (ImportError, OSError) as error:
        raise TroubleError(
            f"the TPM's library cannot be loaded: {error}; install python3-tpm2-pytss"
        ) from error
    try:
        return ESAPI(f"device:{configuration}" if name == "device" else tcti or None)
    except TSS2_Exception as error:
        raise TroubleError(
            f"the TPM cannot be reached by tcti {tcti!r}: {error}; expected 'device', or a module "
            "of libtss2 that is installed with its configuration"
        ) from error


def check_device(path: Path, system: Path = _CLASS) -> None:
    """Raise TroubleError, or BusyError, if the device cannot be opened, and say why."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError as error:
        raise TroubleError(_missing(path, system)) from error
    except PermissionError as error:
        raise TroubleError(
            f"{path} may not be opened by this user; it has to be in the group tss (package "
            "tpm-udev, role tpm)"
        ) from error
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise BusyError(
                f"{path} is in use by another program; use /dev/tpmrm0, which shares the TPM"
            ) from error
        raise TroubleError(f"{path} cannot be opened: {error.strerror}") from error


def _missing(path: Path, system: Path) -> str:
    try:
        majors = {file.read_text().strip() for file in system.glob("*/tpm_version_major")}
    except OSError:
        majors = set()
    if majors == {"1"}:
        return f"{path} does not exist: this is a TPM 1.2, a TPM 2.0 is needed"
    return f"no TPM 2.0: {path} does not exist; switch the TPM on in the firmware"
