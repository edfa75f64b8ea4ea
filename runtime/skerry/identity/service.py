"""identityd as a process: `python3 -m skerry.identity.service`."""

import os
import sys
import time

from skerry.base.client import ApiError
from skerry.base.https import proxy_from
from skerry.base.server import Listener
from skerry.base.service import Context, main
from skerry.certs.client import CertsClient
from skerry.identity.api import IdentityApi
from skerry.identity.certificate import DeviceCertificate
from skerry.identity.modules import ModuleKeys
from skerry.identity.proof import DeviceProof, NoProof, SasProof, TpmProof, X509Proof
from skerry.identity.provisioner import Provisioner
from skerry.identity.renewal import DeviceRenewal
from skerry.identity.settings import Settings, parse_settings
from skerry.identity.store import DeviceStore
from skerry.keys.client import KeysClient
from skerry.provisioning.cloud import Cloud, Reach
from skerry.provisioning.errors import CredentialError
from skerry.tpm.client import TpmClient


def build(context: Context) -> list[Listener]:
    """Return identityd's listener; raises SettingsError."""
    settings = parse_settings(context.settings)
    keys = KeysClient(context.peer("keyd"))
    certs = CertsClient(context.peer("certd"))
    certificate = _certificate(settings, keys, certs, context)
    provisioner = Provisioner(
        settings,
        DeviceStore(context.state_dir, context.log),
        keys,
        _proof(settings, keys, certificate, context),
        Cloud(_reach(settings, certs), context.clock, context.log, time.sleep),
        context.clock,
        context.log,
        time.sleep,
    )
    if certificate is not None:
        context.upkeep.add(DeviceRenewal(certificate, provisioner))
    router = IdentityApi(settings, provisioner, ModuleKeys(keys), context.log).router()
    return [Listener("identityd", context.sockets["identityd"], router, settings.max_requests)]


def _certificate(
    settings: Settings, keys: KeysClient, certs: CertsClient, context: Context
) -> DeviceCertificate | None:
    if settings.source is None or settings.source.proof.certificate is None:
        return None
    source = settings.source.proof.certificate
    return DeviceCertificate(
        source, keys, certs, context.clock, context.log, context.upkeep.changed
    )


def _proof(
    settings: Settings, keys: KeysClient, certificate: DeviceCertificate | None, context: Context
) -> DeviceProof:
    if settings.source is None:
        return NoProof()
    if certificate is not None:
        return X509Proof(keys, certificate)
    if settings.source.proof.key_id is not None:
        return SasProof(keys, settings.source.proof.key_id)
    return TpmProof(TpmClient(context.peer("tpmd")))


def _reach(settings: Settings, certs: CertsClient) -> Reach:
    def roots() -> list[str]:
        return [_root(certs, cert_id) for cert_id in settings.trusted_certs]

    return Reach(
        timeout_seconds=settings.cloud_seconds,
        retries=settings.cloud_retries,
        proxy=proxy_from(os.environ),
        roots=roots,
    )


def _root(certs: CertsClient, cert_id: str) -> str:
    try:
        return certs.get(cert_id).decode()
    except ApiError as error:
        raise CredentialError(
            f"the trusted certificate {cert_id!r} cannot be had: {error}"
        ) from error


if __name__ == "__main__":
    sys.exit(main("identityd", ["identityd"], build))
