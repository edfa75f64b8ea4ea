"""Public keys in PEM and what they have signed.

The library is loaded by whoever first needs a key: most devices never do.
"""


def is_public_key(pem: str) -> bool:
    """Tell whether a text is a public key of a kind that signs: ECDSA, Ed25519 or RSA."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    kinds = (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey)
    try:
        return isinstance(load_pem_public_key(pem.encode()), kinds)
    except (ValueError, UnsupportedAlgorithm):
        return False


def has_signed(pem: str, data: bytes, signature: bytes) -> bool:
    """Tell whether a key, of which `is_public_key` holds, has signed; over SHA-256."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = load_pem_public_key(pem.encode())
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(SHA256()))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), SHA256())
        else:
            return False
    except InvalidSignature:
        return False
    return True
