"""What a device shows the cloud: a signed token, or a certificate whose key stays in keyd.

The key itself is never here: a token is signed by keyd or the TPM, a handshake by keyd.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from skerry.certs.pair import Current
from skerry.keys.client import KeydSigner, KeysClient
from skerry.wire import sas

TOKEN_SECONDS = 3600
"""Upstream's 30 s break on a clock that is a minute slow."""

Sign = Callable[[bytes], bytes]
"""HMAC-SHA256 under the device's key."""


class Credential(Protocol):
    """Proves who asks, for one request."""

    def authorization(self, now: float) -> str | None:
        """Return the Authorization header, None for none; `now` in seconds since 1970."""

    def prepare(self, context: ssl.SSLContext) -> None:
        """Show the context what a handshake needs."""


@dataclass(frozen=True)
class SasCredential:
    """Tokens for one audience, such as `<hub>/devices/<device>`."""

    audience: str
    sign: Sign
    key_name: str | None = None

    def authorization(self, now: float) -> str | None:
        resource, expiry = sas.audience(self.audience), int(now) + TOKEN_SECONDS
        signature = self.sign(sas.sign_text(resource, expiry))
        return sas.token(resource, signature, expiry, self.key_name)

    def prepare(self, context: ssl.SSLContext) -> None:
        """A token needs nothing of the handshake."""


@dataclass(frozen=True)
class X509Credential:
    """A certificate with its chain, and the key pair in keyd that belongs to it."""

    keys: KeysClient
    shown: Current

    def authorization(self, now: float) -> str | None:
        """Return None: the certificate says it all."""

    def prepare(self, context: ssl.SSLContext) -> None:
        # ctypes and what it needs: not for devices that sign tokens
        from skerry.keys.tls import use_key

        use_key(context, self.shown.pem.decode(), KeydSigner(self.keys, self.shown.handle))
