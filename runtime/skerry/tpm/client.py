"""Calls to tpmd, typed."""

import base64
from pathlib import Path

from skerry.base.client import ServiceClient

_VERSION = "2020-09-01"


class TpmClient:
    """Uses the TPM behind one tpmd socket; raises ApiError and UnreachableError."""

    def __init__(self, socket_path: Path) -> None:
        self._service = ServiceClient(socket_path, _VERSION)

    def tpm_keys(self) -> tuple[bytes, bytes]:
        """Return endorsement key and storage root key, each a marshalled TPM2B_PUBLIC."""
        answer = self._service.get("/get_tpm_keys")
        return _octets(answer, "endorsement_key"), _octets(answer, "storage_root_key")

    def import_auth_key(self, blob: bytes) -> None:
        """Have the TPM unwrap a key that was made for it, and keep it."""
        self._service.post("/import_auth_key", {"key": base64.b64encode(blob).decode("ascii")})

    def sign_with_auth_key(self, data: bytes) -> bytes:
        """Return HMAC-SHA256 of some data under the key imported last."""
        body = {"data": base64.b64encode(data).decode("ascii")}
        return _octets(self._service.post("/sign_with_auth_key", body), "digest")

    def seal(self, data: bytes, pcrs: tuple[int, ...]) -> bytes:
        """Return up to 128 bytes sealed to the present values of some PCRs."""
        body: dict[str, object] = {"data": base64.b64encode(data).decode("ascii")}
        return _octets(self._service.post("/seal", body | {"pcrs": list(pcrs)}), "sealed")

    def unseal(self, sealed: bytes) -> bytes:
        """Undo `seal`; ApiError 409 when the boot is another one."""
        body = {"sealed": base64.b64encode(sealed).decode("ascii")}
        return _octets(self._service.post("/unseal", body), "data")

    def sign_with_key(self, blob: bytes, data: bytes) -> bytes:
        """Return HMAC-SHA256 of some data under a key made for this TPM, which is not kept."""
        body = {
            "key": base64.b64encode(blob).decode("ascii"),
            "data": base64.b64encode(data).decode("ascii"),
        }
        return _octets(self._service.post("/sign_with_key", body), "digest")


def _octets(answer: object, name: str) -> bytes:
    if not isinstance(answer, dict) or not isinstance(answer.get(name), str):
        raise TypeError(f"tpmd answered {type(answer).__name__} without {name!r}")
    return base64.b64decode(answer[name])
