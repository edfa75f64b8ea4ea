"""The certificates that the edge CA gives modules, and the trust bundle.

A module's key pair is made here, handed to the module and forgotten; it is RSA, because the
runtimes that modules are written with all read that.
"""

from cryptography.hazmat.primitives.asymmetric import rsa

from skerry.base.client import ApiError
from skerry.certs import x509
from skerry.certs.client import CertsClient
from skerry.workloads.device import Device
from skerry.workloads.edge_ca import EdgeCa
from skerry.workloads.times import rfc3339

_MODULE_IDS = "aziot-edged/module/"
_RSA_BITS = 2048
_RSA_EXPONENT = 65537
_NOT_FOUND = 400


class Certificates:
    """Issues and finds certificates; raises ApiError, UnreachableError and WorkloadsError."""

    def __init__(self, certs: CertsClient, device: Device, edge_ca: EdgeCa) -> None:
        self._certs = certs
        self._device = device
        self._edge_ca = edge_ca

    def server(self, module_id: str, generation: str, common_name: str) -> dict[str, object]:
        """Return a key and certificate for a TLS server, as the workload API writes them."""
        name = module_id.removeprefix("$")
        key = _new_key()
        names = list(dict.fromkeys([common_name, name]))
        csr = x509.server_request(x509.common_name(common_name), names, key)
        return self._issue(f"{_MODULE_IDS}{name}:{generation}:server", csr, key)

    def identity(self, module_id: str) -> dict[str, object]:
        """Return a key and certificate for a TLS client that says which module it is."""
        device = self._device.identity()
        uri = f"azureiot://{device.hub_name}/devices/{device.device_id}/modules/{module_id}"
        key = _new_key()
        # upstream writes the URI as a DNS name, with this prefix; its readers look for that
        csr = x509.client_request(x509.common_name(module_id), [f"URI: {uri}"], key)
        return self._issue(f"{_MODULE_IDS}{module_id}:identity", csr, key)

    def trust_bundle(self, cert_id: str | None) -> str | None:
        """Return what a module has to trust; None when there is nothing."""
        found = self.bundle(cert_id)
        return None if found is None else self._edge_ca.trusted_beside(found.encode()).decode()

    def bundle(self, cert_id: str | None) -> str | None:
        """Return the certificates stored under an id; None when there are none."""
        if cert_id is None:
            return None
        try:
            return self._certs.get(cert_id).decode()
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            return None

    def _issue(self, cert_id: str, csr: bytes, key: rsa.RSAPrivateKey) -> dict[str, object]:
        chain = self._edge_ca.issue(cert_id, csr)
        return {
            "privateKey": {"type": "key", "bytes": x509.key_pem(key).decode()},
            "certificate": x509.to_pem(chain).decode(),
            # a link to a former CA may end before the leaf does: then it is time to ask anew
            "expiration": rfc3339(min(one.not_valid_after_utc for one in chain)),
        }


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(_RSA_EXPONENT, _RSA_BITS)
