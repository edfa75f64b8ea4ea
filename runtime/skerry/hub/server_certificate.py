"""The hub's server certificate and whom it trusts, both from edged, kept fresh while it runs.

A new certificate is loaded into the context that listens: connections that stand keep the old one,
new ones get the new one. The key never touches a disk: OpenSSL reads it from a file in memory.
To be used on the loop.
"""

import asyncio
import os
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.log import Logger
from skerry.heads.tls import server_context
from skerry.module.errors import WorkloadError
from skerry.module.workload import ServerCertificate, WorkloadClient

LIFETIME = timedelta(days=30)
_SPENT = 0.6
_TLS = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
"""Share of its time after which a certificate is replaced: there is room for many attempts."""

_TRUST_SECONDS = 3600.0
_LEAST_SECONDS, _RETRY_SECONDS = 1.0, 20.0


class ServerIdentity:
    """Certificate, context and trust; `open` first, then `run` for as long as the hub serves."""

    def __init__(
        self,
        workload: WorkloadClient,
        name: str,
        clock: Clock,
        log: Logger,
        longest: timedelta = LIFETIME,
        tls: tuple[ssl.TLSVersion, ssl.TLSVersion] = _TLS,
    ) -> None:
        """`name` is what clients dial; no certificate is used longer than `longest`.

        `tls` is the oldest and the newest version that is offered.
        """
        self._tls = tls
        self._workload = workload
        self._name = name
        self._longest = longest
        self._clock = clock
        self._log = log
        self._context: ssl.SSLContext | None = None
        self._renew_at = clock.now()
        self.bundle = ""
        """The trust bundle, PEM; empty when the device has none."""
        self.anchors: Sequence[x509.Certificate] = ()
        """The same, parsed: who may have issued a client's certificate."""

    async def open(self) -> ssl.SSLContext:
        """Get certificate and trust, however long edged lets wait; returns the context."""
        while self._context is None:
            try:
                await self._take_trust()
                await self._take_certificate()
            except SkerryError as error:
                self._log.warning("no server certificate yet", reason=error)
                await asyncio.sleep(_RETRY_SECONDS)
        return self._context

    async def run(self) -> None:
        """Renew the certificate before its end, and look for another trust bundle."""
        while True:
            left = (self._renew_at - self._clock.now()).total_seconds()
            await asyncio.sleep(min(max(left, _LEAST_SECONDS), _TRUST_SECONDS))
            try:
                await self.renew()
            except SkerryError as error:
                self._log.warning("the server certificate is not renewed yet", reason=error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def renew(self) -> None:
        """Take what is due. Raises: SkerryError when edged gives nothing that can be used."""
        await self._take_trust()
        if self._clock.now() >= self._renew_at:
            await self._take_certificate()

    async def _take_trust(self) -> None:
        bundle = await asyncio.to_thread(self._workload.trust_bundle)
        if bundle != self.bundle:
            try:
                self.anchors = x509.load_pem_x509_certificates(bundle.encode()) if bundle else ()
            except ValueError as error:
                raise WorkloadError(f"the trust bundle cannot be read: {error}") from error
            self.bundle = bundle

    async def _take_certificate(self) -> None:
        now = self._clock.now()
        found = await asyncio.to_thread(
            self._workload.server_certificate, self._name, now + LIFETIME
        )
        if found.expires <= now:
            raise WorkloadError(f"edged gave a certificate that ended at {found.expires}")
        self._load(found)
        self._renew_at = now + min(_SPENT * (found.expires - now), self._longest)
        self._log.info("server certificate", name=self._name, expires=_text(found.expires))

    def _load(self, found: ServerCertificate) -> None:
        descriptor = os.memfd_create("server", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, f"{found.key}\n{found.chain}\n".encode())
            file = Path(f"/proc/self/fd/{descriptor}")
            if self._context is None:
                self._context = server_context(file)
                self._context.minimum_version, self._context.maximum_version = self._tls
            else:
                self._context.load_cert_chain(file)
        except ssl.SSLError as error:
            reason = error.reason or error
            raise WorkloadError(f"edged gave a certificate that is not used: {reason}") from error
        finally:
            os.close(descriptor)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
