"""How a key travels to a TPM; the arithmetic is skerry.wire's, shared with the device."""

from skerry.wire.tpm import TpmDataError
from skerry.wire.tpm_credential import make_import_blob


def wrap_key(ek_public: bytes, srk_public: bytes, auth_key: bytes) -> bytes:
    """Encrypt a key so that only the TPM with these two keys can import it. Raises: ValueError."""
    try:
        return make_import_blob(ek_public, srk_public, auth_key)
    except TpmDataError as error:
        raise ValueError(str(error)) from error
