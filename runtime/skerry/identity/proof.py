"""How this device shows who it is, one class a kind: key in keyd, certificate, TPM, nothing.

A proof makes the credential for one server, and the `auth` that identityd tells its callers.
"""

from typing import Protocol

from cryptography.x509.oid import NameOID

from skerry.base.client import ApiError, UnreachableError
from skerry.certs.pair import Current
from skerry.identity.certificate import DeviceCertificate
from skerry.identity.model import Auth
from skerry.keys.client import KeysClient
from skerry.provisioning.credential import Credential, SasCredential, X509Credential
from skerry.provisioning.dps import TpmKeys
from skerry.provisioning.errors import CredentialError


class DeviceProof(Protocol):
    """Raises CredentialError when key or certificate cannot be used."""

    @property
    def auth(self) -> Auth:
        """The kind."""

    def credential(self, audience: str, key_name: str | None) -> Credential:
        """Return what is shown to a server, for `<hub>/devices/<device>` or a registration."""

    def answer(self) -> dict[str, object]:
        """Return the `auth` of an identity: the kind, and the handles of what it needs."""

    def registration_id(self) -> str:
        """Return the name that the proof itself carries."""


class SasProof:
    """A symmetric key in keyd."""

    auth = Auth.SAS

    def __init__(self, keys: KeysClient, key_id: str) -> None:
        self._keys = keys
        self._key_id = key_id

    def credential(self, audience: str, key_name: str | None) -> Credential:
        handle = self._handle()
        return SasCredential(audience, lambda data: self._keys.sign_hmac(handle, data), key_name)

    def answer(self) -> dict[str, object]:
        return {"type": "sas", "keyHandle": self._handle()}

    def registration_id(self) -> str:
        raise CredentialError("a symmetric key names no registration")

    def _handle(self) -> str:
        try:
            return self._keys.load_key(self._key_id)
        except (ApiError, UnreachableError) as error:
            raise CredentialError(f"the key of this device cannot be used: {error}") from error


class X509Proof:
    """The device's certificate."""

    auth = Auth.X509

    def __init__(self, keys: KeysClient, certificate: DeviceCertificate) -> None:
        self._keys = keys
        self._certificate = certificate

    def credential(self, audience: str, key_name: str | None) -> Credential:
        return X509Credential(self._keys, self._shown())

    def answer(self) -> dict[str, object]:
        handle, cert_id = self._shown().handle, self._certificate.pair_id
        return {"type": "x509", "keyHandle": handle, "certId": cert_id}

    def registration_id(self) -> str:
        names = self._shown().chain[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if not names:
            raise CredentialError(
                "the certificate of this device has no common name; "
                "set provisioning.attestation.registration_id"
            )
        return str(names[0].value)

    def _shown(self) -> Current:
        try:
            return self._certificate.present()
        except (ApiError, UnreachableError) as error:
            raise CredentialError(
                f"the certificate of this device cannot be had: {error}"
            ) from error


class TpmProof:
    """A key that only this device's TPM could unwrap."""

    auth = Auth.TPM

    def __init__(self, tpm: TpmKeys) -> None:
        self.tpm = tpm

    def credential(self, audience: str, key_name: str | None) -> Credential:
        return SasCredential(audience, self._sign, key_name)

    def answer(self) -> dict[str, object]:
        return {"type": "tpm"}

    def registration_id(self) -> str:
        raise CredentialError("a TPM names no registration")

    def _sign(self, data: bytes) -> bytes:
        try:
            return self.tpm.sign_with_auth_key(data)
        except (ApiError, UnreachableError) as error:
            raise CredentialError(f"the TPM cannot be used: {error}") from error


class NoProof:
    """A device without a hub."""

    auth = Auth.SAS

    def credential(self, audience: str, key_name: str | None) -> Credential:
        raise _without_hub()

    def answer(self) -> dict[str, object]:
        raise _without_hub()

    def registration_id(self) -> str:
        raise _without_hub()


def _without_hub() -> CredentialError:
    return CredentialError(
        'this device has no hub (provisioning.source = "none"), so no device identity'
    )
