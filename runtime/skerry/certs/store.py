"""Certificates in files.

    <state>/certs/<letters and digits of the id>-<sha256 of the id>.cer   0644, PEM, leaf first

Preloaded certificates lie where the settings say and are never written. Writes are atomic.
"""

from collections.abc import Mapping
from pathlib import Path

from skerry.base.files import id_file_name, read_limited, remove, write_atomic
from skerry.certs.errors import CertFileError, ParameterError
from skerry.certs.x509 import load_chain

_MAX_BYTES = 1024 * 1024


class CertStore:
    """The certificates of one certd."""

    def __init__(self, state_dir: Path, preloaded: Mapping[str, Path | tuple[str, ...]]) -> None:
        self._folder = state_dir / "certs"
        self._preloaded = preloaded
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def get(self, cert_id: str) -> bytes:
        """Return the PEM of an id, of a list all that are there; raises ParameterError if none."""
        location = self._preloaded.get(cert_id)
        if isinstance(location, tuple):
            parts = [pem for member in location if (pem := self._read(member)) is not None]
            found = b"".join(part if part.endswith(b"\n") else part + b"\n" for part in parts)
        else:
            found = self._read(cert_id) or b""
        if not found:
            raise ParameterError(f"there is no certificate {cert_id!r}")
        return found

    def put(self, cert_id: str, pem: bytes) -> None:
        """Store a chain; raises ParameterError when it is none or the id is preloaded."""
        load_chain(pem)
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
        except (OSError, ParameterError) as error:
            raise CertFileError(f"certificate file {path} cannot be used: {error}") from error
        return pem

    def _own_path(self, cert_id: str) -> Path:
        if cert_id in self._preloaded:
            raise ParameterError(
                f"certificate {cert_id!r} is preloaded by the settings and not changed here"
            )
        return self._folder / id_file_name(cert_id, ".cer")
