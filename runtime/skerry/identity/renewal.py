"""The renewal of the device's certificate, as a job of the service."""

from datetime import datetime

from skerry.identity.certificate import DeviceCertificate
from skerry.identity.provisioner import Provisioner


class DeviceRenewal:
    """Renews when the policy says so; whatever goes wrong, the old certificate stays in use."""

    name = "renewal of the device certificate"

    def __init__(self, certificate: DeviceCertificate, provisioner: Provisioner) -> None:
        self._certificate = certificate
        self._provisioner = provisioner

    def due(self, failed_at: datetime | None) -> datetime | None:
        """Return when it is next due, None for never."""
        return self._certificate.due(failed_at)

    def perform(self) -> None:
        """Renew. Raises: ProvisioningError, ApiError, UnreachableError."""
        self._provisioner.renew(self._certificate)
