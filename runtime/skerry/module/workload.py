"""What a module of ours asks of edged's workload API (azure-iot-edge.md §2.8). Calls block.

Raises in every call: ApiError when edged refuses, UnreachableError when it cannot be asked, and
WorkloadError for an answer of another shape.
"""

import base64
import binascii
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from skerry.base.client import ApiError, ServiceClient
from skerry.base.https import trust_context
from skerry.module.errors import WorkloadError
from skerry.wire import sas

TOKEN_SECONDS = 3600
_TIMEOUT_SECONDS = 20.0
_NOT_FOUND = 404


@dataclass(frozen=True)
class ServerCertificate:
    """A TLS server's key and chain, PEM, leaf first; it is to be replaced before `expires`."""

    key: str
    chain: str
    expires: datetime


class WorkloadClient:
    """Calls the workload API as one module."""

    def __init__(
        self, socket_path: Path, api_version: str, module_id: str, generation_id: str
    ) -> None:
        self._service = ServiceClient(socket_path, api_version, _TIMEOUT_SECONDS)
        self._module = f"/modules/{quote(module_id, safe='')}"
        self._path = f"{self._module}/genid/{quote(generation_id, safe='')}"

    def token(self, audience: str, now: float) -> sas.FreshToken:
        """Sign a token for an audience such as `hub/devices/d/modules/m`."""
        resource, expiry = sas.audience(audience), int(now) + TOKEN_SECONDS
        body = {
            "keyId": "primary",
            "algo": "HMACSHA256",
            "data": _text64(sas.sign_text(resource, expiry)),
        }
        signature = _octets(self._service.post(f"{self._path}/sign", body), "digest")
        return sas.FreshToken(sas.token(resource, signature, expiry), now + TOKEN_SECONDS / 2)

    def encrypt(self, iv: bytes, plaintext: bytes) -> bytes:
        """Encrypt for this module alone."""
        body = {"initializationVector": _text64(iv), "plaintext": _text64(plaintext)}
        return _octets(self._service.post(f"{self._path}/encrypt", body), "ciphertext")

    def decrypt(self, iv: bytes, ciphertext: bytes) -> bytes:
        """Return what `encrypt` was given. Raises: ApiError 400 when it was not encrypted so."""
        body = {"initializationVector": _text64(iv), "ciphertext": _text64(ciphertext)}
        return _octets(self._service.post(f"{self._path}/decrypt", body), "plaintext")

    def trust_bundle(self) -> str:
        """Return what the device trusts beside the system's roots, PEM; empty when nothing."""
        try:
            return _text(self._service.get("/trust-bundle"), "certificate")
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            return ""

    def trust(self) -> ssl.SSLContext:
        """Return a TLS context that trusts the system's roots and the device's trust bundle.

        Raises: HttpsError when the bundle is not PEM.
        """
        bundle = self.trust_bundle()
        return trust_context([bundle] if bundle else [])

    def server_certificate(self, common_name: str, until: datetime) -> ServerCertificate:
        """Have a certificate made for a server of that name; it may end before `until`."""
        body = {"commonName": common_name, "expiration": until.isoformat()}
        answer = self._service.post(f"{self._path}/certificate/server", body)
        key = answer.get("privateKey") if isinstance(answer, dict) else None
        expiration = _text(answer, "expiration")
        try:
            expires = datetime.fromisoformat(expiration)
        except ValueError as error:
            raise WorkloadError(f"edged gave {expiration!r} as 'expiration', no time") from error
        return ServerCertificate(_text(key, "bytes"), _text(answer, "certificate"), expires)

    def deployment(self) -> object | None:
        """Return the device's own deployment, None when only the cloud has one."""
        return self._own("deployment")

    def scope(self) -> object | None:
        """Return whom the hub answers for on a device without a cloud, None where it has one."""
        return self._own("scope")

    def _own(self, what: str) -> object | None:
        try:
            return self._service.get(f"{self._module}/{what}")
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            return None


def _text64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _octets(answer: object, name: str) -> bytes:
    try:
        return base64.b64decode(_text(answer, name), validate=True)
    except binascii.Error as error:
        raise WorkloadError(f"edged answered with {name!r} that is not base64") from error


def _text(answer: object, name: str) -> str:
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, str):
        raise WorkloadError(f"edged answered without {name!r}, expected a text")
    return value
