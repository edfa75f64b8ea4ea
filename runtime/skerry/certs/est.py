"""The EST client (RFC 7030): what is asked, and what of the answers is taken.

One `EstServer` is one address with one login. Its answers are believed only so far as TLS has
proven the server; a certificate is taken only if it is for the key that was asked for.
"""

import base64
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Protocol
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from skerry.base.https import HttpsAnswer, HttpsError
from skerry.certs import pkcs7
from skerry.certs.errors import EstError, EstPendingError
from skerry.certs.est_settings import EstLogin
from skerry.certs.x509 import load_request

_OK, _ACCEPTED = 200, 202
_NOT_OFFERED = (404, 405, 501)
_DEFAULT_WAIT = timedelta(minutes=1)
_LONGEST_WAIT = timedelta(days=7)
_MESSAGE_CHARACTERS = 200


class Https(Protocol):
    """Sends one request to one server; raises HttpsError."""

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> HttpsAnswer:
        """Return the whole answer, of any status."""


@dataclass(frozen=True)
class EstServer:
    """An EST server as one login sees it; raises EstError."""

    url: str
    login: EstLogin
    https: Https

    def enrol(self, csr_pem: bytes, now: datetime, *, again: bool = False) -> bytes:
        """Return the PEM chain for a request, leaf first.

        With `again` the server is told that a certificate is renewed, under which the TLS
        connection is made; one that does not offer this is asked as for a new one.
        """
        request = load_request(csr_pem)
        authorities = self._ask("GET", "cacerts", now)
        body = textwrap.fill(base64.b64encode(request.public_bytes(Encoding.DER)).decode(), 64)
        answer = None
        if again:
            answer = self._send("POST", "simplereenroll", body.encode())
        if answer is None or answer.status in _NOT_OFFERED:
            answer = self._send("POST", "simpleenroll", body.encode())
        issued = self._certificates("enrolment", answer, now)
        leaf = next((one for one in issued if one.public_key() == request.public_key()), None)
        if leaf is None:
            raise EstError(f"{self._name} answered with a certificate for another key")
        if leaf.not_valid_after_utc <= now:
            raise EstError(
                f"{self._name} answered with a certificate that expired "
                f"{leaf.not_valid_after_utc:%F}; is this device's clock right?"
            )
        chain = pkcs7.chain(leaf, [*issued, *authorities])
        return b"".join(one.public_bytes(Encoding.PEM) for one in chain)

    @property
    def _name(self) -> str:
        return f"EST server {_host(self.url)}"

    def _ask(self, method: str, operation: str, now: datetime) -> list[x509.Certificate]:
        return self._certificates(operation, self._send(method, operation), now)

    def _send(self, method: str, operation: str, body: bytes = b"") -> HttpsAnswer:
        headers = dict(self.login.headers)
        if self.login.username is not None and self.login.password is not None:
            pair = f"{self.login.username}:{self.login.password.reveal()}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        if body:
            headers["Content-Type"] = "application/pkcs10"
            headers["Content-Transfer-Encoding"] = "base64"
        try:
            return self.https.request(method, f"{self.url}/{operation}", headers=headers, body=body)
        except HttpsError as error:
            raise EstError(f"EST: {error}") from error

    def _certificates(
        self, operation: str, answer: HttpsAnswer, now: datetime
    ) -> list[x509.Certificate]:
        if answer.status == _ACCEPTED:
            wait = retry_after(answer.headers.get("retry-after"), now)
            raise EstPendingError(_host(self.url), wait)
        if answer.status != _OK:
            raise EstError(f"{self._name} refused {operation}: {_refusal(answer)}")
        try:
            return pkcs7.certificates(answer.headers.get("content-type", ""), answer.body)
        except EstError as error:
            raise EstError(f"{self._name} answered {operation} with {error}") from error


def retry_after(text: str | None, now: datetime) -> timedelta:
    """Read a Retry-After header, seconds or a date; a minute where it says nothing usable."""
    if text is None:
        return _DEFAULT_WAIT
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=int(text[:9])), _LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return _DEFAULT_WAIT
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment - now, timedelta()), _LONGEST_WAIT)


def _refusal(answer: HttpsAnswer) -> str:
    known = {
        401: "401, the login is not accepted; look at cert_issuance.est",
        403: "403, this device may not",
        404: "404, not offered there; look at the url",
    }
    said = ""
    if answer.headers.get("content-type", "").startswith("text/plain"):
        text = answer.body[:_MESSAGE_CHARACTERS].decode("utf-8", "replace")
        said = f" ({''.join(c for c in text if c.isprintable())!r})"
    return f"{known.get(answer.status, str(answer.status))}{said}"


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
