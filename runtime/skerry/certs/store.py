"""Certificates in files.

    <state>/certs/<letters and digits of the id>-<sha256 of the id>.cer   0644, PEM, leaf first

Preloaded certificates lie where the settings say and are never written. Writes are atomic.
"""

from collections.abc import Mapping
from pathlib import Path

from skerry.base.files import (
    FileTooLargeError,
    id_file_name,
    read_limited,
    remove,
    state_folder,
    write_atomic,
)
from skerry.certs.errors import CertFileError, ParameterError
from skerry.certs.x509 import load_chain

_MAX_BYTES = 1024 * 1024


class CertStore:
    """The certificates of one certd."""

    def __init__(self, state_dir: Path, preloaded: Mapping[str, Path | tuple[str, ...]]) -> None:
        self._folder = state_folder(state_dir / "certs")
        self._preloaded = preloaded

    def get(self, cert_id: str) -> bytes:
        """Return the PEM of an id, of a list all that are there; raises ParameterError if none."""
        found = self.find(cert_id)
        if found is None:
            raise ParameterError(f"there is no certificate {cert_id!r}")
        return found

    def find(self, cert_id: str) -> bytes | None:
        """Return what `get` does, None where there is nothing."""
        location = self._preloaded.get(cert_id)
        if isinstance(location, tuple):
            parts = [pem for member in location if (pem := self._read(member)) is not None]
            return b"".join(p if p.endswith(b"\n") else p + b"\n" for p in parts) or None
        return self._read(cert_id)

    def is_preloaded(self, cert_id: str) -> bool:
        """Tell whether the settings bring an id along, so that it is never written."""
        return cert_id in self._preloaded

    def put(self, cert_id: str, pem: bytes) -> None:
        """Store a chain; raises ParameterError when it is none or the id is preloaded."""
        if len(pem) > _MAX_BYTES:
            raise ParameterError(f"the chain has {len(pem)} bytes, expected at most {_MAX_BYTES}")
        leaf = load_chain(pem)[0]
        try:
            _ = (leaf.extensions, leaf.public_key())
        except Exception as error:  # the parser raises many kinds for odd certificates
            raise ParameterError(f"the certificate cannot be used: {error}") from error
        if b"PRIVATE KEY-----" in pem:
            raise ParameterError("the PEM holds a private key too; send certificates only")
        write_atomic(self._own_path(cert_id), pem, mode=0o644)

    def delete(self, cert_id: str) -> None:
        """Remove a certificate; removing one that is gone already is no error."""
        remove(self._own_path(cert_id))

    def _read(self, cert_id: str) -> bytes | None:
        location = self._preloaded.get(cert_id)
        if isinstance(location, tuple):
            return None  # a list of lists is not followed, as upstream
        path = location or self._folder / id_file_name(cert_id, ".cer")
        try:
            pem = read_limited(path, _MAX_BYTES)
            load_chain(pem)
        except FileNotFoundError:
            return None
        except (OSError, FileTooLargeError, ParameterError) as error:
            raise CertFileError(f"certificate file {path} cannot be used: {error}") from error
        return pem

    def _own_path(self, cert_id: str) -> Path:
        if self.is_preloaded(cert_id):
            raise ParameterError(
                f"certificate {cert_id!r} is preloaded by the settings and not changed here"
            )
        return self._folder / id_file_name(cert_id, ".cer")
