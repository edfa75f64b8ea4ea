"""Moby through the `docker` package, on the Docker Engine API.

The version is negotiated: the newest that both sides know, so that neither an old engine nor one
that refuses old clients is a problem. The connection is made at the first call and again after a
failure, so the engine may come and go. Importing this module loads `docker`; edged does so in its
own thread, after its sockets answer.
"""

import base64
import contextlib
import json
import secrets
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import docker
import docker.errors
import requests
import urllib3
from docker.utils import parse_repository_tag

from skerry.base.frames import framed
from skerry.engine.errors import (
    EngineConflictError,
    EngineError,
    EngineNotFoundError,
    EngineUnreachableError,
    LoadError,
    PullError,
)
from skerry.engine.model import (
    Container,
    EngineInfo,
    Image,
    LogQuery,
    RegistryAuth,
    State,
    parse_time,
)
from skerry.engine.progress import last_error, progress_error, with_remedy

_NEWEST = (1, 45)
"""The newest API that this client is written against; a newer engine speaks it too."""

_ANSWER_SECONDS = 60
_LOAD_SECONDS = 900
"""An archive is unpacked in one silent step, and emulated or worn disks are slow."""

_STALL_SECONDS = 300.0
"""An engine that pulls says something at every part of a layer; a registry may hold its tongue."""

_CHUNK_BYTES = 32 * 1024
_COARSE = ("minute", "hour", "day", "week", "month", "year")
"""How the engine tells ages from a minute on; a younger one could come again after a restart."""


class MobyEngine:
    """The Engine at one address such as `unix:///var/run/docker.sock`."""

    def __init__(self, uri: str, stall_seconds: float = _STALL_SECONDS) -> None:
        self._uri = uri
        self._stall_seconds = stall_seconds
        self._lock = threading.Lock()
        self._api: Any = None  # docker.APIClient, whose stubs leave calls out
        self._version = ""

    def info(self) -> EngineInfo:
        with self._errors():
            info: dict[str, Any] = self._connect().info()
        return EngineInfo(
            server_version=str(info.get("ServerVersion", "")),
            os_type=str(info.get("OSType", "")),
            operating_system=str(info.get("OperatingSystem", "")),
            kernel_version=str(info.get("KernelVersion", "")),
            architecture=str(info.get("Architecture", "")),
            cpus=int(info.get("NCPU", 0)),
            memory_bytes=int(info.get("MemTotal", 0)),
            data_root=str(info.get("DockerRootDir", "")),
            storage_driver=str(info.get("Driver", "")),
        )

    def containers(self, label: str) -> list[str]:
        return list(self.marks(label))

    def marks(self, label: str) -> dict[str, str]:
        with self._errors():
            found = self._connect().containers(all=True, filters={"label": [label]})
        return {entry["Id"]: _mark(entry) for entry in found}

    def inspect(self, name: str) -> Container:
        return _container(self.describe(name))

    def describe(self, name: str) -> dict[str, Any]:
        """Return a container in the engine's own JSON."""
        with self._errors():
            found: dict[str, Any] = self._connect().inspect_container(name)
        return found

    def describe_image(self, reference: str) -> dict[str, Any]:
        """Return an image in the engine's own JSON."""
        with self._errors():
            found: dict[str, Any] = self._connect().inspect_image(reference)
        return found

    def describe_network(self, name: str) -> dict[str, Any]:
        """Return a network in the engine's own JSON."""
        with self._errors():
            found: dict[str, Any] = self._connect().inspect_network(name)
        return found

    def describe_engine(self) -> dict[str, Any]:
        """Return the engine itself in its own JSON."""
        with self._errors():
            found: dict[str, Any] = self._connect().info()
        return found

    def describe_images(self) -> list[dict[str, Any]]:
        """Return all images in the engine's own JSON."""
        with self._errors():
            found: list[dict[str, Any]] = self._connect().images()
        return found

    def describe_networks(self) -> list[dict[str, Any]]:
        """Return all networks in the engine's own JSON."""
        with self._errors():
            found: list[dict[str, Any]] = self._connect().networks()
        return found

    def run_once(self, body: Mapping[str, object], seconds: int) -> tuple[int, str]:
        """Run a container to its end, or stop it after the time, and remove it.

        Returns its exit status and what it wrote to standard output.
        """
        name = f"skerry-{secrets.token_hex(6)}"
        self.create(name, body)
        try:
            self.start(name)
            self.wait(name, seconds)
            with self._errors():
                output: bytes = self._connect().logs(name, stdout=True, stderr=False)
            return self.inspect(name).state.exit_code, output.decode("utf-8", "replace")
        finally:
            self.remove(name)

    def create(self, name: str, body: Mapping[str, object]) -> str:
        with self._errors():
            made = self._connect().create_container_from_config(dict(body), name)
        return str(made["Id"])

    def start(self, name: str) -> None:
        with self._errors():
            self._connect().start(name)

    def stop(self, name: str, timeout_seconds: int) -> None:
        with self._errors():
            self._connect().stop(name, timeout=timeout_seconds)

    def restart(self, name: str, timeout_seconds: int) -> None:
        with self._errors():
            self._connect().restart(name, timeout=timeout_seconds)

    def remove(self, name: str) -> None:
        with self._errors():
            self._connect().remove_container(name, v=False, force=True)

    def wait(self, name: str, timeout_seconds: float) -> None:
        with self._errors():
            try:
                self._connect().wait(name, timeout=timeout_seconds)
            except docker.errors.NotFound:
                return
            except requests.exceptions.ReadTimeout:
                return
            except requests.exceptions.ConnectionError as error:
                # the package's transport reports its own time limit in this way as well
                if "timed out" not in str(error).lower():
                    raise

    def logs(self, name: str, query: LogQuery) -> "_Logs":
        tty = self.inspect(name).tty
        params: dict[str, object] = {
            "stdout": 1,
            "stderr": 1,
            "follow": int(query.follow),
            "timestamps": int(query.timestamps),
            "tail": "all" if query.tail is None else query.tail,
        }
        params |= {"since": query.since} if query.since is not None else {}
        params |= {"until": query.until} if query.until is not None else {}
        with self._errors():
            return _Logs(_raw_logs(self._connect(), name, params), tty=tty)

    def stats(self, name: str) -> dict[str, object]:
        with self._errors():
            sample: dict[str, object] = self._connect().stats(name, stream=False)
        return sample

    def image(self, reference: str) -> Image:
        found = self.describe_image(reference)
        return Image(
            id=found["Id"],
            tags=tuple(found.get("RepoTags") or ()),
            os=found.get("Os", ""),
            architecture=found.get("Architecture", ""),
        )

    def pull(self, reference: str, auth: RegistryAuth | None) -> None:
        try:
            with self._errors():
                reason = progress_error(self._pull(reference, auth))
        except (EngineUnreachableError, PullError):
            raise
        except EngineError as error:
            raise PullError(reference, str(error)) from error
        if reason:
            raise PullError(reference, with_remedy(reason))

    def _pull(self, reference: str, auth: RegistryAuth | None) -> Iterator[bytes]:
        """Yield the steps. The package's own call would wait for a silent registry for ever."""
        repository, tag = parse_repository_tag(reference)
        login = json.dumps(dict(auth.fields) if auth is not None else {})
        api = self._connect()
        try:
            response: requests.Response = api.post(
                f"{api.base_url}/v{api.api_version}/images/create",
                params={"fromImage": repository, "tag": tag or "latest"},
                headers={"X-Registry-Auth": base64.urlsafe_b64encode(login.encode()).decode()},
                stream=True,
                timeout=(_ANSWER_SECONDS, self._stall_seconds),
            )
            with contextlib.closing(response):
                _raise_refusal(response)
                yield from response.iter_lines()
        except requests.exceptions.RequestException as error:
            if "timed out" not in str(error).lower():
                raise
            reason = f"nothing arrived for {self._stall_seconds:g} s"
            raise PullError(reference, reason) from error

    def load(self, archive: Path) -> None:
        try:
            with archive.open("rb") as data, self._errors():
                # a client of its own: only here does silence mean that work is going on
                version = self._connect().api_version
                api: Any = docker.APIClient(self._uri, version, timeout=_LOAD_SECONDS)
                with contextlib.closing(api):
                    reason = last_error(api.load_image(data))
        except EngineUnreachableError:
            raise
        except (OSError, EngineError) as error:
            raise LoadError(f"image archive {archive} cannot be loaded: {error}") from error
        if reason:
            raise LoadError(f"image archive {archive} cannot be loaded: {with_remedy(reason)}")

    def images_in_use(self) -> set[str]:
        with self._errors():
            return {str(found["ImageID"]) for found in self._connect().containers(all=True)}

    def remove_image(self, image_id: str) -> None:
        with self._errors():
            self._connect().remove_image(image_id, force=True)

    def tag(self, image_id: str, reference: str) -> None:
        repository, _, tag = reference.rpartition(":")
        with self._errors():
            self._connect().tag(image_id, repository, tag)

    def networks(self, name: str) -> list[str]:
        with self._errors():
            found = self._connect().networks(names=[name])
        # the engine's filter also matches parts of names
        return [network["Id"] for network in found if network["Name"] == name]

    def create_network(self, body: Mapping[str, object]) -> str:
        with self._errors():
            made = self._connect().create_network(**_network_arguments(body))
        return str(made["Id"])

    def _connect(self) -> Any:
        with self._lock:
            if self._api is None:
                if not self._version:
                    self._version = self._negotiate()
                self._api = docker.APIClient(self._uri, self._version, timeout=_ANSWER_SECONDS)
            return self._api

    def _negotiate(self) -> str:
        self._knock()
        probe = docker.APIClient(self._uri, "1.24", timeout=_ANSWER_SECONDS)
        with contextlib.closing(probe):
            answer: dict[str, str] = probe.version(api_version=False)
        theirs = _version(answer["ApiVersion"])
        least = _version(answer.get("MinAPIVersion", "1.12"))
        major, minor = max(min(_NEWEST, theirs), least)
        return f"{major}.{minor}"

    def _knock(self) -> None:
        """Connect once, plainly: the package wraps the reason of a failure and leaks its socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocker:
            knocker.settimeout(_ANSWER_SECONDS)
            try:
                knocker.connect(self._uri.removeprefix("unix://"))
            except OSError as error:
                raise _unreachable(self._uri, error) from error

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except docker.errors.APIError as error:
            raise _refusal(error) from error
        except (
            requests.exceptions.RequestException,
            urllib3.exceptions.HTTPError,
            docker.errors.DockerException,
        ) as error:
            # what comes back may be another engine, of another version
            with self._lock:
                self._api, self._version = None, ""
            raise _unreachable(self._uri, error) from error


class _Logs:
    """A log stream that can be ended by another thread, also while it waits for output."""

    def __init__(self, response: requests.Response, *, tty: bool) -> None:
        self._response = response
        raw: Any = response.raw
        # response -> urllib3 -> http.client -> buffer -> SocketIO -> socket; none of them lends it
        self._socket: socket.socket | None = getattr(raw._fp.fp.raw, "_sock", None)
        self._tty = tty

    def __iter__(self) -> Iterator[bytes]:
        chunks: Iterable[bytes] = self._response.raw.stream(_CHUNK_BYTES, decode_content=False)
        try:
            # an engine that goes away, or `close`, ends the stream: there is nothing to answer
            with contextlib.suppress(OSError, ValueError, urllib3.exceptions.HTTPError):
                yield from framed(chunks) if self._tty else chunks
        finally:
            self._response.close()

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _raw_logs(api: Any, name: str, params: Mapping[str, object]) -> requests.Response:
    """Open the log stream with its frames, which `APIClient.logs` would take off."""
    response: requests.Response = api.get(
        f"{api.base_url}/v{api.api_version}/containers/{quote(name, safe='')}/logs",
        params=params,
        stream=True,
        timeout=(_ANSWER_SECONDS, None),
    )
    _raise_refusal(response)
    return response


def _raise_refusal(response: requests.Response) -> None:
    try:
        response.raise_for_status()
    except requests.exceptions.HTTPError as error:
        docker.errors.create_api_error_from_http_exception(error)


def _mark(listed: Mapping[str, Any]) -> str:
    """Return state, age in words and the like, empty for what is younger than a minute."""
    status = str(listed.get("Status", ""))
    if not any(unit in status for unit in _COARSE):
        return ""
    return json.dumps([listed.get(key) for key in ("Names", "Image", "ImageID", "State", "Status")])


def _container(found: Mapping[str, Any]) -> Container:
    state, config = found["State"], found["Config"]
    return Container(
        id=found["Id"],
        name=found["Name"].lstrip("/"),
        image=config.get("Image", ""),
        image_id=found.get("Image", ""),
        labels=config.get("Labels") or {},
        state=State(
            status=state.get("Status", ""),
            exit_code=int(state.get("ExitCode", 0)),
            started_at=parse_time(state.get("StartedAt", "")),
            finished_at=parse_time(state.get("FinishedAt", "")),
            error=state.get("Error", ""),
            health=(state.get("Health") or {}).get("Status", ""),
        ),
        tty=bool(config.get("Tty")),
        ports=frozenset(_ports(found)),
    )


def _ports(found: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield what a container publishes, as asked for and, while it runs, as it came out."""
    asked = (found.get("HostConfig") or {}).get("PortBindings") or {}
    given = (found.get("NetworkSettings") or {}).get("Ports") or {}
    for inside, holders in (*asked.items(), *given.items()):
        for holder in holders or ():
            if str(holder.get("HostPort", "")).isdecimal():
                yield int(holder["HostPort"]), str(inside).partition("/")[2] or "tcp"


def _network_arguments(body: Mapping[str, object]) -> dict[str, Any]:
    names = {"Name": "name", "Driver": "driver", "IPAM": "ipam", "EnableIPv6": "enable_ipv6"}
    return {names[key]: value for key, value in body.items()}


def _refusal(error: docker.errors.APIError) -> EngineError:
    status = int(error.status_code or 0)
    message = with_remedy(str(error.explanation or error))
    if status == HTTPStatus.NOT_FOUND:
        return EngineNotFoundError(message)
    if status == HTTPStatus.CONFLICT:
        return EngineConflictError(message)
    return EngineError(status, message)


def _unreachable(uri: str, error: Exception) -> EngineUnreachableError:
    text = str(error)
    if "Permission denied" in text:
        reason, remedy = "permission denied", "add this service's user to the group docker"
    elif "timed out" in text.lower():
        reason, remedy = "it did not answer in time", "see: journalctl -u docker"
    else:
        known = {
            "Connection refused": "connection refused",
            "No such file": "no such socket",
            "Connection aborted": "it closed the connection",
        }
        reason = next((short for part, short in known.items() if part in text), text)
        remedy = "start it with: systemctl start docker"
    return EngineUnreachableError(
        f"the container engine at {uri} does not answer ({reason}); {remedy}"
    )


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)
