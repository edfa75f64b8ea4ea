"""certd as a process: `python3 -m skerry.certs.service`."""

import sys

from skerry.base.server import Listener
from skerry.base.service import Context, main
from skerry.certs.api import CertsApi
from skerry.certs.issuing import CertIssuer
from skerry.certs.model import parse_settings
from skerry.certs.store import CertStore
from skerry.keys.client import KeysClient


def build(context: Context) -> list[Listener]:
    """Return certd's listener; raises SettingsError."""
    settings = parse_settings(context.settings)
    store = CertStore(context.state_dir, settings.preloaded)
    issuer = CertIssuer(settings, store, KeysClient(context.peer("keyd")), context.clock)
    router = CertsApi(settings, store, issuer, context.log).router()
    return [Listener("certd", context.sockets["certd"], router, settings.max_requests)]


if __name__ == "__main__":
    sys.exit(main("certd", ["certd"], build))
