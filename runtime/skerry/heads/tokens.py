"""Tokens as the APIs receive them."""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import unquote

from skerry.wire import sas

_EVER = 0.0


def audiences(token: sas.SasToken) -> tuple[str, ...]:
    """Return what the audience may mean, in lower case: as sent, decoded once, decoded twice.

    SDKs encode it once, .NET twice, identityd not where an id holds a `%`.
    """
    return tuple(text.lower() for text in (token.resource, token.audience, unquote(token.audience)))


def verify(token: sas.SasToken, keys: Sequence[bytes], now: datetime) -> None:
    """Check a token against the keys of an identity; one is enough.

    Raises: SasError, for an expired token by that name also when it is the second key's.
    """
    problem = sas.SasError("the identity has no key")
    for key in keys:
        try:
            sas.verify(token, key, _EVER)
        except sas.SasError as error:
            problem = error
            continue
        sas.verify(token, key, now.timestamp())
        return
    raise problem
