"""tpmd's work on a TPM without a socket in front, and what tests do to the TPM behind its back."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.swtpm import Swtpm
from skerry.base.log import get_logger
from skerry.tpm.connection import connect
from skerry.tpm.device import Device
from skerry.tpm.keys import TpmKeys
from skerry.tpm.model import Settings
from skerry.tpm.sealing import parse_sealed, seal, unseal
from skerry.wire.tpm import parse_import_blob
from skerry.wire.tpm_credential import make_import_blob

Wrap = Callable[[Any], Any]
MakeTpm = Callable[[], Swtpm]


@dataclass
class Tpmd:
    """Each call opens the TPM anew, as each request does; `wrap` stands between both."""

    tpm: Swtpm
    state: Path
    settings: Settings = field(default_factory=Settings)
    wrap: Wrap = field(default=lambda esapi: esapi)

    def __post_init__(self) -> None:
        self.settings = replace(self.settings, tcti=self.tpm.tcti)

    @property
    def keys(self) -> TpmKeys:
        """The keys, as found by a process that starts now."""
        return TpmKeys(self.settings, self.state, get_logger("tpmd"))

    def open(self) -> Device:
        """Open the TPM."""
        return Device(self.wrap(connect(self.settings.tcti)), self.settings)

    def public_keys(self) -> tuple[bytes, bytes]:
        """Return endorsement and storage root key."""
        with self.open() as device:
            return self.keys.public_keys(device)

    def blob(self, key: bytes) -> bytes:
        """Return a key wrapped for this TPM, as DPS does it."""
        return make_import_blob(*self.public_keys(), key)

    def take(self, blob: bytes) -> None:
        """Import a wrapped key."""
        with self.open() as device:
            self.keys.import_auth_key(device, parse_import_blob(blob))

    def sign(self, data: bytes = b"data") -> bytes:
        """Sign with the authentication key."""
        with self.open() as device:
            return self.keys.sign(device, data)

    def signs_with(self, *keys: bytes) -> bool:
        """Tell whether the authentication key is one of these."""
        return self.sign() in [hmac.digest(key, b"data", "sha256") for key in keys]

    def seal(self, data: bytes, *pcrs: int) -> bytes:
        """Seal a secret."""
        with self.open() as device:
            return seal(device, self.keys.storage(device)[0], data, pcrs)

    def unseal(self, sealed: bytes) -> bytes:
        """Unseal it."""
        with self.open() as device:
            return unseal(device, self.keys.storage(device)[0], parse_sealed(sealed))


@dataclass
class Nth:
    """Stands for a TPM connection and does something just before its n-th command."""

    esapi: Any
    spared: int
    act: Callable[[], None]
    count: int = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.esapi, name)
        if name in ("close", "tr_set_auth", "trsess_set_attributes"):
            return found

        def call(*arguments: object, **named: object) -> object:
            if self.count == self.spared:
                self.act()
            self.count += 1
            return found(*arguments, **named)

        return call
