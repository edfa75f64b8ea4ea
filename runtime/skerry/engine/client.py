"""The Docker Engine API through the `docker` package.

The package is imported at the first call and not with this module: it costs 15 MB and nobody needs
it to parse settings or print help. The API version is the highest that both sides know; it is
negotiated again after the engine went away, as it may come back as another one.
"""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from skerry.engine.errors import (
    ConflictError,
    EngineError,
    EngineUnreachableError,
    ImageError,
    NotFoundError,
)
from skerry.engine.model import (
    Container,
    EngineInfo,
    Image,
    LogOptions,
    Network,
    RegistryAuth,
    container_of,
    image_of,
    info_of,
)

if TYPE_CHECKING:
    from docker import APIClient
    from requests import Response

_TIMEOUT_SECONDS = 60
_LOAD_SECONDS = 600
_NOT_FOUND = 404
_CONFLICT = 409
_ERROR = 400


class MobyEngine:
    """Moby behind a unix socket, `unix:///var/run/docker.sock` say."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._api: APIClient | None = None
        self._connecting = threading.Lock()

    def info(self) -> EngineInfo:
        with self._call() as api:
            return info_of(api.info())

    def image(self, reference: str) -> Image | None:
        try:
            with self._call() as api:
                untyped: Any = api
                return image_of(untyped.inspect_image(reference))
        except NotFoundError:
            return None

    def load(self, archive: Path) -> None:
        with self._call() as api, archive.open("rb") as data:
            response = api.post(
                self._url(api, "/images/load"),
                data=data,
                headers={"Content-Type": "application/x-tar"},
                stream=True,
                timeout=_LOAD_SECONDS,
            )
            with response:
                _check(response)
                for line in response.iter_lines():
                    _raise_image_error(line, f"loading {archive}")

    def pull(self, reference: str, auth: RegistryAuth | None) -> None:
        # an empty login keeps the package from looking for one in files of its own
        login = {} if auth is None else dict(auth.fields)
        with self._call() as api:
            for line in api.pull(reference, stream=True, auth_config=login):
                for part in line.splitlines():
                    _raise_image_error(part, f"pulling {reference}")

    def networks(self) -> tuple[str, ...]:
        with self._call() as api:
            return tuple(str(network["Name"]) for network in api.networks())

    def create_network(self, network: Network) -> None:
        pools = [
            {"Subnet": pool.subnet, "Gateway": pool.gateway, "IPRange": pool.ip_range}
            for pool in network.pools
        ]
        given = [{key: value for key, value in pool.items() if value} for pool in pools]
        ipam: Any = {"Driver": "default", "Config": given} if given else None
        with self._call() as api:
            api.create_network(network.name, driver="bridge", ipam=ipam, enable_ipv6=network.ipv6)

    def create(self, name: str, body: Mapping[str, object]) -> str:
        with self._call() as api:
            untyped: Any = api
            return str(untyped.create_container_from_config(dict(body), name)["Id"])

    def start(self, name: str) -> None:
        with self._call() as api:
            api.start(name)

    def stop(self, name: str, timeout_seconds: int) -> None:
        with self._call() as api:
            api.stop(name, timeout=timeout_seconds)

    def restart(self, name: str, timeout_seconds: int) -> None:
        with self._call() as api:
            api.restart(name, timeout=timeout_seconds)

    def remove(self, name: str) -> None:
        with self._call() as api:
            api.remove_container(name, v=False, force=True)

    def container(self, name: str) -> Container:
        with self._call() as api:
            return container_of(api.inspect_container(name))

    def containers(self, label: str) -> tuple[str, ...]:
        with self._call() as api:
            found = api.containers(all=True, filters={"label": [label]})
        return tuple(str(entry["Names"][0]).removeprefix("/") for entry in found)

    def logs(self, name: str, options: LogOptions) -> Iterator[bytes]:
        with self._call() as api:
            # the package's own `logs` takes the frames apart, and callers of edged expect them
            response = api.get(
                self._url(api, f"/containers/{quote(name, safe='')}/logs"),
                params=_log_query(options),
                stream=True,
                # a followed log may stay silent for as long as it likes
                timeout=(_TIMEOUT_SECONDS, None if options.follow else _TIMEOUT_SECONDS),
            )
            try:
                _check(response)
            except EngineError:
                response.close()
                raise
        return self._pieces(response)

    def stats(self, name: str) -> Mapping[str, object]:
        with self._call() as api:
            found: Any = api.stats(name, stream=False)
            return dict(found)

    def wait(self, name: str, timeout_seconds: float) -> None:
        from requests.exceptions import ConnectionError as LostError
        from requests.exceptions import ReadTimeout

        try:
            with self._call() as api:
                try:
                    api.wait(name, timeout=max(1, round(timeout_seconds)))
                except ReadTimeout:
                    return
                except LostError as error:
                    # urllib3 reports a time-out between two chunks as a lost connection
                    if "timed out" not in str(error).lower():
                        raise
        except NotFoundError:
            return

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._connecting:
            if self._api is not None:
                self._api.close()
            self._api = None

    def _pieces(self, response: "Response") -> Iterator[bytes]:
        from requests.exceptions import RequestException

        with response:
            try:
                yield from response.iter_content(chunk_size=None)
            except RequestException as error:
                raise EngineUnreachableError(self._uri, _reason(error)) from error

    def _url(self, api: "APIClient", path: str) -> str:
        return f"{api.base_url}/v{api.api_version}{path}"

    @contextmanager
    def _call(self) -> Iterator["APIClient"]:
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException

        try:
            yield self._connected()
        except APIError as error:
            raise _named(error.status_code or 500, error.explanation or str(error)) from error
        except RequestException as error:
            self._forget()
            raise EngineUnreachableError(self._uri, _reason(error)) from error
        except DockerException as error:
            # the package wraps every failure to negotiate in its root exception
            self._forget()
            raise EngineUnreachableError(self._uri, _reason(error)) from error

    def _connected(self) -> "APIClient":
        from docker import APIClient

        with self._connecting:
            if self._api is None:
                self._knock()
                self._api = APIClient(base_url=self._uri, version="auto", timeout=_TIMEOUT_SECONDS)
            return self._api

    def _knock(self) -> None:
        # the package leaves a socket behind each time that it cannot connect
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_TIMEOUT_SECONDS)
            try:
                probe.connect(self._uri.removeprefix("unix://"))
            except OSError as error:
                raise EngineUnreachableError(self._uri, _reason(error)) from error

    def _forget(self) -> None:
        # not closed: another thread may be in the middle of a call that is still good
        with self._connecting:
            self._api = None


def _check(response: "Response") -> None:
    if response.status_code < _ERROR:
        return
    try:
        message = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = response.text.strip() or str(response.reason)
    raise _named(response.status_code, message)


def _named(status: int, message: str) -> EngineError:
    if status == _NOT_FOUND:
        return NotFoundError(message)
    if status == _CONFLICT:
        return ConflictError(message)
    return EngineError(message, status)


def _raise_image_error(line: bytes, doing: str) -> None:
    """Raise ImageError if a line of the engine's progress is about a failure."""
    if not line.strip():
        return
    try:
        progress = json.loads(line)
    except ValueError:
        return
    if not isinstance(progress, dict):
        return
    detail = progress.get("errorDetail")
    message = detail.get("message") if isinstance(detail, dict) else progress.get("error")
    if message:
        raise ImageError(f"{doing}: {message}")


def _log_query(options: LogOptions) -> dict[str, str]:
    query = {
        "stdout": "1",
        "stderr": "1",
        "follow": "1" if options.follow else "0",
        "timestamps": "1" if options.timestamps else "0",
        "tail": options.tail,
    }
    if options.since is not None:
        query["since"] = options.since
    if options.until is not None:
        query["until"] = options.until
    return query


def _reason(error: Exception) -> str:
    """Return the innermost reason: the packages in between wrap it several times."""
    cause: BaseException = error
    while True:
        inner = cause.__cause__ or cause.__context__
        if inner is None:
            break
        cause = inner
    return str(getattr(cause, "strerror", None) or cause) or type(cause).__name__
