"""Calls to a service of Skerry over its unix socket.

Invariants
- A connection is kept for the next call: a new one costs five times as much as the call. A kept
  one is used only while the service has not closed its end, so restarts and idle exits go
  unnoticed, and no request is ever sent twice.
- At most `at_once` calls are under way, fewer than the service allows one user; more wait.

Only the standard library is used: the containers carry this module too.
"""

import http.client
import json
import select
import socket
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from skerry.base.errors import SkerryError

_READ_BYTES = 64 * 1024
_AT_ONCE = 8
_MAX_KEPT = 4


class ApiError(SkerryError):
    """The service answered with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class UnreachableError(SkerryError):
    """The service could not be reached, or went away before it answered; asking again may help."""


class ServiceClient:
    """Speaks JSON with the service behind one socket and one api-version."""

    def __init__(
        self,
        socket_path: Path,
        api_version: str,
        timeout_seconds: float = 70,
        at_once: int = _AT_ONCE,
    ) -> None:
        self._socket_path = socket_path
        self._api_version = api_version
        self._timeout_seconds = timeout_seconds
        self._most = at_once
        self._at_once = threading.BoundedSemaphore(at_once)
        self._kept: list[_UnixConnection] = []
        weakref.finalize(self, _close_all, self._kept)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> object:
        return self._json("GET", path, None, query)

    def post(
        self, path: str, body: object = None, query: Mapping[str, str] | None = None
    ) -> object:
        return self._json("POST", path, body, query)

    def put(self, path: str, body: object = None, query: Mapping[str, str] | None = None) -> object:
        return self._json("PUT", path, body, query)

    def delete(
        self, path: str, body: object = None, query: Mapping[str, str] | None = None
    ) -> object:
        return self._json("DELETE", path, body, query)

    def stream(self, path: str, query: Mapping[str, str] | None = None) -> Iterator[bytes]:
        """Yield the body of a GET as it arrives."""
        connection, response = self._exchange("GET", path, None, query)
        try:
            if response.status >= http.client.BAD_REQUEST:
                raise ApiError(response.status, _message(response.read()))
            while chunk := response.read1(_READ_BYTES):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _json(
        self, method: str, path: str, body: object, query: Mapping[str, str] | None
    ) -> object:
        with self._turn():
            connection, response = self._exchange(method, path, body, query)
            try:
                data = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                raise self._unreachable(error) from error
            self._keep(connection)
        if response.status >= http.client.BAD_REQUEST:
            raise ApiError(response.status, _message(data))
        return json.loads(data) if data else None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._at_once.acquire(timeout=self._timeout_seconds):
            raise UnreachableError(
                f"no answer on {self._socket_path}: {self._most} calls are under way"
            )
        try:
            yield
        finally:
            self._at_once.release()

    def _exchange(
        self, method: str, path: str, body: object, query: Mapping[str, str] | None
    ) -> tuple["_UnixConnection", http.client.HTTPResponse]:
        target = f"{path}?{urlencode({'api-version': self._api_version, **(query or {})})}"
        headers = {} if body is None else {"Content-Type": "application/json"}
        payload = None if body is None else json.dumps(body).encode()
        connection = self._connection()
        try:
            connection.request(method, target, body=payload, headers=headers)
            return connection, connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error

    def _connection(self) -> "_UnixConnection":
        while self._kept:
            try:
                connection = self._kept.pop()
            except IndexError:
                break  # another thread took the last one
            if connection.is_quiet():
                return connection
            connection.close()
        return _UnixConnection(self._socket_path, self._timeout_seconds)

    def _keep(self, connection: "_UnixConnection") -> None:
        # `sock` is None once the service said that it closes
        if connection.sock is not None and len(self._kept) < _MAX_KEPT:
            self._kept.append(connection)
        else:
            connection.close()

    def _unreachable(self, error: Exception) -> UnreachableError:
        reason = str(error) or type(error).__name__
        return UnreachableError(f"no answer on {self._socket_path}: {reason}")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(str(self._path))
        except BaseException:
            self.sock.close()
            raise

    def is_quiet(self) -> bool:
        """Tell whether nothing has arrived: neither the service's end nor an unasked byte."""
        # not select(): a service may have more than a thousand files open
        arrived = select.poll()
        arrived.register(self.sock, select.POLLIN)
        return not arrived.poll(0)


def _close_all(connections: list[_UnixConnection]) -> None:
    while connections:
        connections.pop().close()


def _message(body: bytes) -> str:
    try:
        value = json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
    return str(value.get("message", value)) if isinstance(value, dict) else str(value)
