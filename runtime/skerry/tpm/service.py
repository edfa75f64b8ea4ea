"""tpmd as a process: `python3 -m skerry.tpm.service`.

Core dumps are off before the first request, so that no secret on its way reaches the disk that way.
"""

import sys
from typing import TYPE_CHECKING

from skerry.base.secrecy import forbid_core_dumps
from skerry.base.server import Listener
from skerry.base.service import Context, main
from skerry.tpm.api import TpmApi
from skerry.tpm.connection import connect
from skerry.tpm.keys import Open, TpmKeys
from skerry.tpm.model import Settings, parse_settings

if TYPE_CHECKING:
    from skerry.tpm.device import Device


def build(context: Context) -> list[Listener]:
    """Return tpmd's listener; raises SettingsError."""
    settings = parse_settings(context.settings)
    keys = TpmKeys(settings, context.state_dir, context.log)
    router = TpmApi(settings, keys, opener(settings), context.log).router()
    return [Listener("tpmd", context.sockets["tpmd"], router, settings.max_requests)]


def opener(settings: Settings) -> Open:
    """Return what opens the TPM of the settings."""

    def open_tpm() -> "Device":
        esapi = connect(settings.tcti)
        from skerry.tpm.device import Device

        return Device(esapi, settings)

    return open_tpm


if __name__ == "__main__":
    forbid_core_dumps()
    sys.exit(main("tpmd", ["tpmd"], build))
