"""The edge CA, the certificates that it gives modules, and the trust bundle.

The CA's key pair is in keyd and never leaves it. A module's key pair is made here, handed to the
module and forgotten; it is RSA, because the runtimes that modules are written with all read that.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import rsa

from skerry.base.client import ApiError
from skerry.base.clock import Clock
from skerry.certs import x509
from skerry.certs.client import CertsClient
from skerry.certs.remote_key import remote_key
from skerry.keys.client import KeysClient
from skerry.workloads.device import Device
from skerry.workloads.errors import WorkloadsError
from skerry.workloads.settings import EDGE_CA, EdgeCaSettings
from skerry.workloads.times import renewal_time, rfc3339

_MODULE_IDS = "aziot-edged/module/"
_CA_ALGORITHMS = "ec-p256:rsa-2048:*"
_RSA_BITS = 2048
_RSA_EXPONENT = 65537
_NOT_FOUND = 400
_ISSUE_PAUSE = timedelta(hours=1)


@dataclass(frozen=True)
class EdgeCa:
    """The CA as it is now; `renew_at` is when it should be made anew, None for never."""

    not_after: datetime
    renew_at: datetime | None
    issued_now: bool


class Certificates:
    """Issues and finds certificates; raises ApiError, UnreachableError and WorkloadsError."""

    def __init__(
        self,
        certs: CertsClient,
        keys: KeysClient,
        device: Device,
        settings: EdgeCaSettings,
        clock: Clock,
    ) -> None:
        self._certs = certs
        self._keys = keys
        self._device = device
        self._settings = settings
        self._clock = clock

    def ensure_edge_ca(self) -> EdgeCa:
        """Return the edge CA, issued when it is missing, due, or not for its key."""
        current = self._edge_ca()
        if not self._settings.issued:
            if current is None:
                raise WorkloadsError(
                    f"certificate {EDGE_CA!r} is not there or not for its key; "
                    "check [edge_ca] cert and pk in config.toml"
                )
            return EdgeCa(current.not_after, None, issued_now=False)
        if current is not None and current.renew_at and self._clock.now() < current.renew_at:
            return current
        self._issue_edge_ca()
        made = self._edge_ca()
        if made is None or made.renew_at is None:
            raise WorkloadsError(f"certd issued {EDGE_CA!r}, but not for its key")
        # a threshold longer than the certificate lives would have it issued over and over
        soonest = self._clock.now() + _ISSUE_PAUSE
        return EdgeCa(made.not_after, max(made.renew_at, soonest), issued_now=True)

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

    def _edge_ca(self) -> EdgeCa | None:
        handle = self._keys.create_key_pair(EDGE_CA, _CA_ALGORITHMS)
        pem = self.bundle(EDGE_CA)
        if pem is None:
            return None
        leaf = x509.load_chain(pem.encode())[0]
        if leaf.public_key() != remote_key(self._keys, handle).public_key():
            return None
        due = renewal_time(
            self._settings.threshold, leaf.not_valid_before_utc, leaf.not_valid_after_utc
        )
        return EdgeCa(leaf.not_valid_after_utc, due, issued_now=False)

    def _issue_edge_ca(self) -> None:
        handle = self._keys.load_key_pair(EDGE_CA)
        subject = x509.common_name(f"aziot-edge CA {self._device.identity().device_id}")
        self._certs.create(EDGE_CA, x509.ca_request(subject, remote_key(self._keys, handle)))

    def _issue(self, cert_id: str, csr: bytes, key: rsa.RSAPrivateKey) -> dict[str, object]:
        pem = self._certs.create(cert_id, csr, EDGE_CA, self._keys.load_key_pair(EDGE_CA))
        leaf = x509.load_chain(pem)[0]
        return {
            "privateKey": {"type": "key", "bytes": x509.key_pem(key).decode()},
            "certificate": pem.decode(),
            "expiration": rfc3339(leaf.not_valid_after_utc),
        }


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(_RSA_EXPONENT, _RSA_BITS)
