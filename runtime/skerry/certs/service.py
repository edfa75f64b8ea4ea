"""certd as a process: `python3 -m skerry.certs.service`."""

import os
import sys

from skerry.base.server import Listener
from skerry.base.service import Context, main
from skerry.certs.api import CertsApi
from skerry.certs.issuing import CertIssuer
from skerry.certs.model import Method, parse_settings
from skerry.certs.store import CertStore
from skerry.keys.client import KeysClient


def build(context: Context) -> list[Listener]:
    """Return certd's listener; raises SettingsError."""
    settings = parse_settings(context.settings)
    store = CertStore(context.state_dir, settings.preloaded)
    keys = KeysClient(context.peer("keyd"))
    changed = context.upkeep.changed
    enroller = None
    if any(issuance.method is Method.EST for issuance in settings.issuance.values()):
        # ssl and ctypes cost memory: only where a certificate comes from a server
        from skerry.base.https import proxy_from
        from skerry.certs.enrolment import Enrolment

        proxy = proxy_from(os.environ)
        enroller = Enrolment(settings, store, keys, context.clock, proxy, changed)
    issuer = CertIssuer(settings, store, keys, enroller, context.clock, changed)
    for job in issuer.jobs():
        context.upkeep.add(job)
    router = CertsApi(settings, store, issuer, context.log).router()
    return [Listener("certd", context.sockets["certd"], router, settings.max_requests)]


if __name__ == "__main__":
    sys.exit(main("certd", ["certd"], build))
