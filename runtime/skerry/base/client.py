"""Calls to a service of Skerry over its unix socket.

A connection per call: connecting to a unix socket costs less than keeping a pool right through
restarts and idle exits. Only the standard library is used: the containers carry this module too.
"""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode

from skerry.base.errors import SkerryError

_READ_BYTES = 64 * 1024


class ApiError(SkerryError):
    """The service answered with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class UnreachableError(SkerryError):
    """The service could not be reached, or went away before it answered; asking again may help."""


class ServiceClient:
    """Speaks JSON with the service behind one socket and one api-version."""

    def __init__(self, socket_path: Path, api_version: str, timeout_seconds: float = 70) -> None:
        self._socket_path = socket_path
        self._api_version = api_version
        self._timeout_seconds = timeout_seconds

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
            while chunk := response.read1(_READ_BYTES):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _json(
        self, method: str, path: str, body: object, query: Mapping[str, str] | None
    ) -> object:
        connection, response = self._exchange(method, path, body, query)
        try:
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()
        return json.loads(data) if data else None

    def _exchange(
        self, method: str, path: str, body: object, query: Mapping[str, str] | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        target = f"{path}?{urlencode({'api-version': self._api_version, **(query or {})})}"
        headers = {} if body is None else {"Content-Type": "application/json"}
        payload = None if body is None else json.dumps(body).encode()
        connection = _UnixConnection(self._socket_path, self._timeout_seconds)
        try:
            connection.request(method, target, body=payload, headers=headers)
            response = connection.getresponse()
            refusal = response.read() if response.status >= http.client.BAD_REQUEST else None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error
        if refusal is not None:
            connection.close()
            raise ApiError(response.status, _message(refusal))
        return connection, response

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


def _message(body: bytes) -> str:
    try:
        value = json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
    return str(value.get("message", value)) if isinstance(value, dict) else str(value)
