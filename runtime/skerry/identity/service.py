"""identityd as a process: `python3 -m skerry.identity.service`."""

import sys

from skerry.base.server import Listener
from skerry.base.service import Context, main
from skerry.certs.client import CertsClient
from skerry.identity.api import IdentityApi
from skerry.identity.device import DeviceIdentity
from skerry.identity.model import parse_settings
from skerry.identity.modules import Modules
from skerry.identity.store import ModuleStore
from skerry.keys.client import KeysClient


def build(context: Context) -> list[Listener]:
    """Return identityd's listener; raises SettingsError."""
    settings = parse_settings(context.settings)
    keys = KeysClient(context.peer("keyd"))
    certs = CertsClient(context.peer("certd"))
    device = DeviceIdentity(settings, keys, certs, context.clock, context.log)
    modules = Modules(ModuleStore(context.state_dir, settings), keys)
    modules.reconcile(settings.principals)
    router = IdentityApi(settings, device, modules, context.log).router()
    return [Listener("identityd", context.sockets["identityd"], router, settings.max_requests)]


if __name__ == "__main__":
    sys.exit(main("identityd", ["identityd"], build))
