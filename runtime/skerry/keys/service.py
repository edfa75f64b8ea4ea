"""keyd as a process: `python3 -m skerry.keys.service`.

Core dumps are off before the first key is read, so that no private byte reaches the disk that way.
"""

import sys

from skerry.base.secrecy import forbid_core_dumps
from skerry.base.server import Listener
from skerry.base.service import Context, main
from skerry.keys.api import KeysApi
from skerry.keys.model import parse_settings
from skerry.keys.store import KeyStore
from skerry.keys.token_keys import Tokens


def build(context: Context) -> list[Listener]:
    """Return keyd's listener; raises SettingsError."""
    settings = parse_settings(context.settings)
    pkcs11 = settings.pkcs11
    store = KeyStore(
        context.state_dir,
        settings.preloaded,
        context.log,
        None if pkcs11 is None else Tokens(pkcs11.library),
        None if pkcs11 is None else pkcs11.base_slot,
    )
    router = KeysApi(settings, store, context.log).router()
    return [Listener("keyd", context.sockets["keyd"], router, settings.max_requests)]


if __name__ == "__main__":
    forbid_core_dumps()
    sys.exit(main("keyd", ["keyd"], build))
