"""The REST of authorities: `/certificates`, in the bodies of IoT Hub's management API.

PUT takes `{"properties": {"certificate": base64 of PEM or DER, "isVerified"}}`; `verify` takes
`{"certificate"}`. The policies' rights registryRead and registryWrite open it.
"""

import base64
import binascii
from collections.abc import Mapping

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from skerry.heads.certificates import CertificateError, read_pem
from skerry.heads.routes import Answer, Request, Route
from skerry_lab.registry.access import Access
from skerry_lab.registry.authorities import ANY, Authorities, Authority
from skerry_lab.registry.errors import bad_argument
from skerry_lab.registry.model import checked_id
from skerry_lab.registry.policies import Right
from skerry_lab.registry.requests import check_version, if_match, json_body, tagged


class AuthoritiesApi:
    """Handlers; each runs in one transaction."""

    def __init__(self, authorities: Authorities, access: Access) -> None:
        self._authorities = authorities
        self._access = access

    def routes(self) -> list[Route]:
        one = "/certificates/{name}"
        return [
            Route("GET", "/certificates", self.list),
            Route("GET", one, self.get),
            Route("PUT", one, self.put),
            Route("DELETE", one, self.delete),
            Route("POST", f"{one}/generateVerificationCode", self.new_code),
            Route("POST", f"{one}/verify", self.verify),
        ]

    def list(self, request: Request) -> Answer:
        self._check(request, Right.REGISTRY_READ)
        return Answer.json({"value": [one.to_json() for one in self._authorities.all()]})

    def get(self, request: Request, name: str) -> Answer:
        self._check(request, Right.REGISTRY_READ)
        return _shown(self._authorities.get(name))

    def put(self, request: Request, name: str) -> Answer:
        self._check(request, Right.REGISTRY_WRITE)
        properties = json_body(request).get("properties")
        if not isinstance(properties, dict):
            raise bad_argument("the body has no properties, expected a JSON object")
        one = self._authorities.put(
            checked_id(name, "certificate"),
            _pem(properties),
            verified=properties.get("isVerified") is True,
            if_match=if_match(request),
        )
        return _shown(one)

    def delete(self, request: Request, name: str) -> Answer:
        self._check(request, Right.REGISTRY_WRITE)
        self._authorities.delete(name, if_match(request) or ANY)
        return Answer(204)

    def new_code(self, request: Request, name: str) -> Answer:
        self._check(request, Right.REGISTRY_WRITE)
        one = self._authorities.new_code(name, if_match(request) or ANY)
        return tagged(one.to_json(with_code=True), one.etag)

    def verify(self, request: Request, name: str) -> Answer:
        self._check(request, Right.REGISTRY_WRITE)
        proof = _pem(json_body(request))
        return _shown(self._authorities.verify(name, proof, if_match(request) or ANY))

    def _check(self, request: Request, right: Right) -> None:
        check_version(request)
        self._access.policy(request, right)


def _shown(one: Authority) -> Answer:
    return tagged(one.to_json(), one.etag)


def _pem(body: Mapping[str, object]) -> str:
    """Return the certificate of a body as PEM. Raises: HubError 400."""
    text = body.get("certificate")
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
        if data.startswith(b"-----BEGIN"):
            certificate = read_pem(data.decode("ascii"))
        else:
            certificate = x509.load_der_x509_certificate(data)
    except (binascii.Error, ValueError, CertificateError) as error:
        raise bad_argument("certificate is none, expected PEM or DER in base64") from error
    return certificate.public_bytes(Encoding.PEM).decode()
