"""A container engine that speaks the Docker Engine API on a unix socket and runs nothing.

It keeps containers, images and networks in memory; `refuse` makes it answer a path with an error.
A container that is started runs until `exit` or a stop.
"""

import contextlib
import hashlib
import io
import json
import socket
import socketserver
import sys
import tarfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

API_VERSION = "1.41"
NO_TIME = "0001-01-01T00:00:00Z"


@dataclass
class FakeContainer:
    """One container: what it was created from, and its state."""

    name: str
    id: str
    body: dict[str, object]
    image_id: str
    status: str = "created"
    exit_code: int = 0
    started: str = NO_TIME
    finished: str = NO_TIME
    log: bytes = b""

    def inspect(self) -> dict[str, object]:
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Image": self.image_id,
            "Config": {
                **{name: self.body[name] for name in {"Cmd", "Entrypoint"} & self.body.keys()},
                "Image": self.body.get("Image"),
                "Labels": self.body.get("Labels") or {},
                "Env": self.body.get("Env") or [],
            },
            "State": {
                "Status": self.status,
                "ExitCode": self.exit_code,
                "StartedAt": self.started,
                "FinishedAt": self.finished,
            },
        }


@dataclass
class DockerEngine:
    """The state of the engine; tests read and change it while it serves."""

    images: dict[str, str] = field(default_factory=dict)
    registry: dict[str, str] = field(default_factory=dict)
    """Reference -> image id, for what `pull` finds."""
    containers: dict[str, FakeContainer] = field(default_factory=dict)
    networks: dict[str, dict[str, object]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    """The X-Registry-Auth headers of pulls."""
    silent: set[str] = field(default_factory=set)
    """References whose registry says nothing until `silence` is set."""
    silence: threading.Event = field(default_factory=threading.Event)
    held: dict[str, threading.Event] = field(default_factory=dict)
    """Path -> what its answers wait for."""
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    architecture: str = ""
    """That of all images, in the engine's words; empty as of old engines."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def refuse(self, path: str, status: int, message: str) -> None:
        self.refusals[path] = (status, message)

    def exit(self, name: str, code: int) -> None:
        with self.changed:
            container = self.containers[name]
            container.status, container.exit_code = "exited", code
            container.finished = "2026-01-01T00:05:00.000000001Z"
            self.changed.notify_all()

    def count(self, method: str, path: str) -> int:
        return sum(call == (method, path) for call in self.calls)

    def find(self, name: str) -> FakeContainer | None:
        for container in self.containers.values():
            if name in (container.name, container.id):
                return container
        return None


@contextmanager
def serving(engine: DockerEngine, path: Path) -> Iterator[DockerEngine]:
    """Serve the engine on a unix socket."""
    path.unlink(missing_ok=True)
    server = _Server(str(path), _Handler)
    server.engine = engine
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield engine
    finally:
        server.shutdown()
        server.server_close()
        server.hang_up()
        path.unlink(missing_ok=True)
        with engine.changed:
            engine.changed.notify_all()
        thread.join()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    engine: DockerEngine

    def __init__(self, path: str, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(path, handler)
        self._open: set[socket.socket] = set()

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: object) -> None:
        assert isinstance(request, socket.socket)
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error of ours; anything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            traceback.print_exc()

    def hang_up(self) -> None:
        """End the connections that stayed open, as an engine does that goes away."""
        for request in list(self._open):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        engine = self.server.engine
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        version, _, rest = path.removeprefix("/").partition("/")
        path = f"/{rest}" if version.startswith("v1.") else path
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        body = self._body()
        engine.calls.append((self.command, path))
        if path in engine.held:
            engine.held[path].wait(30)
        refusal = engine.refusals.get(path)
        if refusal is not None:
            self._json({"message": refusal[1]}, refusal[0])
        elif not self._general(path, query, body):
            self._container(path, query, body)

    def _general(self, path: str, query: dict[str, str], body: bytes) -> bool:
        engine = self.server.engine
        match (self.command, path):
            case ("GET", "/version"):
                self._json({"ApiVersion": API_VERSION, "MinAPIVersion": "1.24"})
            case ("GET", "/info"):
                self._json(
                    {
                        "ServerVersion": "20.10.24",
                        "OperatingSystem": "Debian GNU/Linux 12",
                        "Architecture": "x86_64",
                        "NCPU": 2,
                        "MemTotal": 4 << 30,
                    }
                )
            case ("POST", "/images/create"):
                self._pull(query)
            case ("POST", "/images/load"):
                self._load(body)
            case ("GET", "/networks"):
                self._networks(query)
            case ("POST", "/networks/create"):
                asked = json.loads(body)
                engine.networks[asked["Name"]] = asked
                self._json({"Id": "n" * 64}, 201)
            case ("GET", "/images/json"):
                self._json([{"Id": one, "RepoTags": [tag]} for tag, one in engine.images.items()])
            case ("GET", image) if image.startswith("/images/") and image.endswith("/json"):
                name = image.removeprefix("/images/").removesuffix("/json")
                found = name if name in engine.images.values() else engine.images.get(name)
                if found is None:
                    self._json({"message": f"No such image: {name}"}, 404)
                else:
                    self._json({"Id": found, "Size": 1234, "Architecture": engine.architecture})
            case ("DELETE", image) if image.startswith("/images/"):
                self._remove_image(image.removeprefix("/images/"))
            case _:
                return False
        return True

    def _remove_image(self, image_id: str) -> None:
        engine = self.server.engine
        names = [name for name, found in engine.images.items() if found == image_id]
        running = [c for c in engine.containers.values() if c.status == "running"]
        if not names:
            self._json({"message": f"No such image: {image_id}"}, 404)
        elif any(container.image_id == image_id for container in running):
            self._json({"message": "image is being used by running container"}, 409)
        else:
            for name in names:
                del engine.images[name]
            self._json([{"Deleted": image_id}])

    def _networks(self, query: dict[str, str]) -> None:
        # the engine's filter matches parts of names
        wanted = json.loads(query.get("filters", "{}")).get("name", [""])
        self._json(
            [
                {"Id": hashlib.sha256(name.encode()).hexdigest(), "Name": name}
                for name in self.server.engine.networks
                if any(part in name for part in wanted)
            ]
        )

    def _pull(self, query: dict[str, str]) -> None:
        engine = self.server.engine
        engine.logins.append(self.headers.get("X-Registry-Auth", ""))
        joint = "@" if query["tag"].startswith("sha256:") else ":"
        reference = f"{query['fromImage']}{joint}{query['tag']}"
        if reference in engine.silent:
            engine.silence.wait(30)
        if reference in engine.registry:
            engine.images[reference] = engine.registry[reference]
            self._chunks([b'{"status":"Pull complete"}\r\n'])
        else:
            message = f"manifest for {reference} not found"
            failure = {"errorDetail": {"message": message}, "error": message}
            self._chunks([b'{"status":"Pulling"}\r\n', json.dumps(failure).encode() + b"\r\n"])

    def _load(self, archive: bytes) -> None:
        try:
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                manifest = json.load(tar.extractfile("manifest.json") or io.BytesIO(b"[]"))
                for entry in manifest:
                    config = tar.extractfile(entry["Config"])
                    content = b"" if config is None else config.read()
                    image_id = f"sha256:{hashlib.sha256(content).hexdigest()}"
                    for tag in entry["RepoTags"]:
                        self.server.engine.images[tag] = image_id
        except (tarfile.TarError, KeyError) as error:
            self._json({"message": f"invalid archive: {error}"}, 400)
            return
        self._chunks([b'{"stream":"Loaded image"}\r\n'])

    def _container(self, path: str, query: dict[str, str], body: bytes) -> None:
        engine = self.server.engine
        if path == "/containers/json":
            wanted = json.loads(query.get("filters", "{}")).get("label", [])
            self._json(
                [
                    {
                        "Id": container.id,
                        "Names": [f"/{container.name}"],
                        "ImageID": container.image_id,
                    }
                    for container in engine.containers.values()
                    if all(label in _labels(container) for label in wanted)
                ]
            )
            return
        if path == "/containers/create":
            self._create(query["name"], json.loads(body))
            return
        name, _, action = path.removeprefix("/containers/").partition("/")
        container = engine.find(name)
        if container is None:
            self._json({"message": f"No such container: {name}"}, 404)
            return
        self._act(container, action, query)

    def _create(self, name: str, body: dict[str, object]) -> None:
        engine = self.server.engine
        image = str(body.get("Image"))
        found = image if image in engine.images.values() else engine.images.get(image)
        if name in engine.containers:
            self._json({"message": f'The container name "/{name}" is already in use'}, 409)
        elif found is None:
            self._json({"message": f"No such image: {image}"}, 404)
        else:
            digest = hashlib.sha256(f"{name}{len(engine.calls)}".encode()).hexdigest()
            engine.containers[name] = FakeContainer(name, digest, body, found)
            self._json({"Id": digest, "Warnings": []}, 201)

    def _act(self, container: FakeContainer, action: str, query: dict[str, str]) -> None:
        engine = self.server.engine
        running = container.status == "running"
        match (self.command, action):
            case ("GET", "json"):
                self._json(container.inspect())
            case ("POST", "start" | "restart"):
                if not (running and action == "start"):
                    container.status = "running"
                    container.started = "2026-01-01T00:00:00.5Z"
                self._empty(304 if running and action == "start" else 204)
            case ("POST", "stop"):
                if running:
                    engine.exit(container.name, 0)
                self._empty(204 if running else 304)
            case ("DELETE", ""):
                with engine.changed:
                    del engine.containers[container.name]
                    engine.changed.notify_all()
                self._empty(204)
            case ("GET", "logs"):
                lines = container.log.splitlines(keepends=True)
                tail = query.get("tail", "all")
                chosen = lines if tail == "all" else lines[-int(tail) :]
                self._chunks([_frame(1, line) for line in chosen])
            case ("GET", "stats"):
                self._json({"name": f"/{container.name}", "memory_stats": {"usage": 4096}})
            case ("POST", "wait"):
                self._wait(container)
            case _:
                self._json({"message": "page not found"}, 404)

    def _wait(self, container: FakeContainer) -> None:
        engine = self.server.engine
        with engine.changed:
            engine.changed.wait_for(
                lambda: container.status != "running" or container.name not in engine.containers,
                timeout=30,
            )
        self._json({"StatusCode": container.exit_code})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _json(self, value: object, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _empty(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()

    def _chunks(self, pieces: list[bytes]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in [*pieces, b""]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))


def _frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def _labels(container: FakeContainer) -> list[str]:
    labels = container.body.get("Labels")
    return [f"{key}={value}" for key, value in labels.items()] if isinstance(labels, dict) else []
