"""keyd's settings: used, or refused with a message."""

import tomllib

from skerry.base.errors import SettingsError
from skerry.keys.errors import UnauthorizedError
from skerry.keys.model import parse_settings

ALLOWED = (SettingsError, UnauthorizedError, tomllib.TOMLDecodeError, UnicodeDecodeError)
SEEDS = (
    b'max_requests = 10\n[aziot_keys]\npkcs11_lib_path = "/x.so"\npkcs11_base_slot = "pkcs11:"\n',
    b'[preloaded_keys]\na = "file:///etc/key"\n[[principal]]\nuid = 1000\nkeys = ["a*", "b?"]\n',
)


def one(data: bytes) -> None:
    """Parse settings and ask them for a right."""
    settings = parse_settings(tomllib.loads(data.decode("utf-8")))
    settings.require(1000, "device-id")
