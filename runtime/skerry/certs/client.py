"""Calls to certd, typed."""

from pathlib import Path
from urllib.parse import quote

from skerry.base.client import ServiceClient

_VERSION = "2020-09-01"


class CertsClient:
    """Reads and writes the certificates behind one certd socket."""

    def __init__(self, socket_path: Path) -> None:
        self._service = ServiceClient(socket_path, _VERSION)

    def create(
        self,
        cert_id: str,
        csr_pem: bytes,
        issuer_id: str | None = None,
        issuer_key_handle: str | None = None,
    ) -> bytes:
        """Have a certificate issued, by the settings or a named issuer; returns the chain."""
        body: dict[str, object] = {"certId": cert_id, "csr": csr_pem.decode()}
        if issuer_id is not None:
            body["issuer"] = {"certId": issuer_id, "privateKeyHandle": issuer_key_handle}
        return _pem(self._service.post("/certificates", body))

    def put(self, cert_id: str, pem: bytes) -> None:
        """Store a PEM chain under an id."""
        self._service.put(f"/certificates/{quote(cert_id, safe='')}", {"pem": pem.decode()})

    def get(self, cert_id: str) -> bytes:
        """Return the PEM chain of an id; ApiError 400 when there is none."""
        return _pem(self._service.get(f"/certificates/{quote(cert_id, safe='')}"))

    def delete(self, cert_id: str) -> None:
        """Remove a certificate."""
        self._service.delete(f"/certificates/{quote(cert_id, safe='')}")


def _pem(answer: object) -> bytes:
    if not isinstance(answer, dict) or not isinstance(answer.get("pem"), str):
        raise TypeError(f"certd answered {type(answer).__name__} without 'pem'")
    return str(answer["pem"]).encode()
