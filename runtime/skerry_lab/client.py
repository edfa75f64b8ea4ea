"""A client of the lab that runs on a data folder, for the verbs that need the running server.

It finds the server by `DIR/lab.json`, trusts `DIR/ca.pem` alone and signs with the policy
`iothubowner`. Nothing is stored.
"""

import hashlib
import hmac
import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from skerry.base.https import HttpsClient, HttpsError, HttpsFailure, trust_context
from skerry.wire import sas
from skerry_lab.errors import LabError
from skerry_lab.server import RUNNING_FILE
from skerry_lab.store import ROOT_FILE, Store

API_VERSION = "2021-04-12"

_POLICY = "iothubowner"
_TOKEN_SECONDS = 3600
_TIMEOUT_SECONDS = 30.0
_SILENCE_SECONDS = 45.0
_RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class Running:
    """What `lab.json` says."""

    pid: int
    hub: str
    https_port: int
    mqtt_port: int


def running(data_dir: Path) -> Running | None:
    """Return where the lab of a folder serves, None if it has no server.

    Raises: LabError when the file cannot be understood.
    """
    file = data_dir / RUNNING_FILE
    try:
        return Running(**json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, TypeError, ValueError) as error:
        raise LabError(f"{file} cannot be used: {error}; start the lab again") from error


@dataclass(frozen=True)
class LabAnswer:
    """An answer below 400; `document` is its JSON, None for none."""

    status: int
    headers: Mapping[str, str]
    document: object


class LabClient:
    """Talks to the lab of a folder; each call finds it anew, so a restart does no harm."""

    def __init__(self, data_dir: Path, pause: Callable[[float], None] = time.sleep) -> None:
        """Raises: LabError when no lab runs on the folder."""
        self._data_dir = data_dir
        self._pause = pause
        if running(data_dir) is None:
            raise self._not_running()
        store = Store(data_dir)
        try:
            policy = store.do(lambda cloud: cloud.policies.get(_POLICY))
        finally:
            store.close()
        if policy is None:
            raise LabError(f"the lab has no policy {_POLICY!r}")
        self._key = policy.keys[0]
        root = (data_dir / ROOT_FILE).read_text()
        self._context = trust_context([root], system_roots=False)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> LabAnswer:
        """Send a request and return the answer.

        Raises: LabError with what the lab says, for every status from 400.
        """
        where = self.running
        client = HttpsClient(self._context, timeout_seconds=timeout_seconds)
        url = f"https://localhost:{where.https_port}{path}?api-version={API_VERSION}"
        sent = {"authorization": self._token(where), "content-type": "application/json"}
        data = b"" if body is None else json.dumps(body).encode()
        try:
            answer = client.request(method, url, headers=sent, body=data)
        except HttpsError as error:
            if error.kind is HttpsFailure.UNREACHABLE:
                raise self._not_running() from error
            raise
        document = json.loads(answer.body) if answer.body else None
        if answer.status >= http.client.BAD_REQUEST:
            raise LabError(_message(document, answer.status))
        return LabAnswer(answer.status, answer.headers, document)

    def events(
        self, start: str, device_id: str | None = None, module_id: str | None = None
    ) -> Iterator[dict[str, object]]:
        """Yield messages of devices for ever, from offset `start`, `earliest` or `latest`.

        When the lab restarts the stream goes on where it was. Raises: LabError when the first
        connection fails, or the lab refuses.
        """
        chosen = {"from": start, "deviceId": device_id, "moduleId": module_id}
        query = {name: value for name, value in chosen.items() if value is not None}
        last, is_first = "", True
        while True:
            try:
                for number, event in self._stream(query, last):
                    is_first = False
                    last = number or last
                    if event is not None:
                        yield event
            except (OSError, http.client.HTTPException, NotRunningError) as error:
                if is_first:
                    raise self._not_running() from error
            self._pause(_RETRY_SECONDS)

    def _stream(
        self, query: Mapping[str, str], last: str
    ) -> Iterator[tuple[str, dict[str, object] | None]]:
        where = self.running
        headers = {"authorization": self._token(where), "accept": "text/event-stream"}
        if last:
            headers["last-event-id"] = last
        connection = http.client.HTTPSConnection(
            "localhost", where.https_port, timeout=_SILENCE_SECONDS, context=self._context
        )
        try:
            path = "/skerry/events?" + urlencode({"api-version": API_VERSION, **query})
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            if response.status != http.client.OK:
                document = json.loads(response.read() or b"null")
                raise LabError(_message(document, response.status))
            yield "", None
            yield from _events(response)
        finally:
            connection.close()

    @property
    def running(self) -> Running:
        """Where the lab serves now. Raises: NotRunningError."""
        found = running(self._data_dir)
        if found is None:
            raise self._not_running()
        return found

    def _not_running(self) -> "NotRunningError":
        return NotRunningError(
            f"no lab runs on {self._data_dir}; start it with `skerry-lab up --data "
            f"{self._data_dir}`"
        )

    def _token(self, where: Running) -> str:
        audience = sas.audience(where.hub)
        expiry = int(time.time()) + _TOKEN_SECONDS
        signature = hmac.digest(self._key, sas.sign_text(audience, expiry), hashlib.sha256)
        return sas.token(audience, signature, expiry, _POLICY)


class NotRunningError(LabError):
    """No server on the folder."""


def _events(response: http.client.HTTPResponse) -> Iterator[tuple[str, dict[str, object] | None]]:
    """Take server-sent events apart: id, and the JSON of a message."""
    fields: dict[str, str] = {}
    while line := response.readline():
        text = line.decode().rstrip("\r\n")
        if text:
            name, _, value = text.partition(":")
            fields[name] = value.strip()
            continue
        if "data" in fields:
            is_message = "event" not in fields
            yield fields.get("id", ""), json.loads(fields["data"]) if is_message else None
        fields = {}


def _message(document: object, status: int) -> str:
    if isinstance(document, dict):
        said = document.get("Message") or document.get("message")
        if said:
            return f"the lab answers {status}: {said}"
    return f"the lab answers {status}"
