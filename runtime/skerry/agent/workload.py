"""What the agent asks of the workload API: tokens for its hub, and whom to trust there."""

import base64
import binascii
import ssl
from pathlib import Path
from urllib.parse import quote

from skerry.agent.errors import AgentError
from skerry.base.client import ServiceClient
from skerry.base.https import trust_context
from skerry.wire import sas

TOKEN_SECONDS = 3600
_TIMEOUT_SECONDS = 20.0


class WorkloadClient:
    """Calls the workload API as one module; raises ApiError and UnreachableError beside its own."""

    def __init__(
        self, socket_path: Path, api_version: str, module_id: str, generation_id: str
    ) -> None:
        self._service = ServiceClient(socket_path, api_version, _TIMEOUT_SECONDS)
        self._path = f"/modules/{quote(module_id, safe='')}/genid/{quote(generation_id, safe='')}"

    def token(self, audience: str, now: float) -> sas.FreshToken:
        """Sign a token for an audience such as `hub/devices/d/modules/m`; renewed at half its life.

        Raises: AgentError for an answer of another shape.
        """
        resource, expiry = sas.audience(audience), int(now) + TOKEN_SECONDS
        body = {
            "keyId": "primary",
            "algo": "HMACSHA256",
            "data": base64.b64encode(sas.sign_text(resource, expiry)).decode(),
        }
        answer = self._service.post(f"{self._path}/sign", body)
        digest = answer.get("digest") if isinstance(answer, dict) else None
        try:
            signature = base64.b64decode(str(digest), validate=True)
        except binascii.Error as error:
            raise AgentError("edged signed with what is not base64") from error
        return sas.FreshToken(sas.token(resource, signature, expiry), now + TOKEN_SECONDS / 2)

    def trust(self) -> ssl.SSLContext:
        """Return a TLS context that trusts the system's roots and the device's trust bundle.

        Raises: HttpsError when the bundle is not PEM.
        """
        answer = self._service.get("/trust-bundle")
        bundle = answer.get("certificate") if isinstance(answer, dict) else None
        return trust_context([str(bundle)] if bundle else [])
