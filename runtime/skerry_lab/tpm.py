"""How a key travels to a TPM; the arithmetic is skerry.wire's, shared with the device."""


def wrap_key(ek_public: bytes, srk_public: bytes, auth_key: bytes) -> bytes:
    """Encrypt a key so that only the TPM with these two keys can import it. Raises: ValueError."""
    raise ValueError("this lab cannot challenge a TPM")
