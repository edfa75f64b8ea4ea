"""A real registry with TLS and a password, on a port of this machine, behind a line to be cut.

    with registry(folder) as store, moby(folder, trust=store.ca) as engine:
        digest = store.publish(engine, "pump")                # pushed, and gone from the engine
        engine.api.pull(store.reference("pump"), auth_config=store.login())
        store.line.cut_after(1_000_000)                       # or stall_after; free() ends it
        store.kill(); store.start()                           # the same address, the same content

Engines believe any certificate on loopback, so it listens on another address of the machine.
"""

import contextlib
import ipaddress
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from fakes.est import key_pem_of, name, new_authority, pem_of
from harness.engine import Moby, root_tree
from harness.line import Line, line

USER, PASSWORD = "puller", "secret"
_HTPASSWD = "puller:$2y$05$5YKHcPBk1t7FnqniGrnLSe521S/LVoNdwWs46tYfdcmeDVTJSxbu.\n"
"""The password under bcrypt, the only form that the registry reads."""

_START_SECONDS = 30
_CONFIG = """version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {folder}/content}}, delete: {{enabled: true}}}}
http: {{addr: "{address}:{port}", tls: {{certificate: {folder}/chain.pem, key: {folder}/key.pem}}}}
auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}
"""


@dataclass
class Registry:
    """A running registry; clients reach it through `line`."""

    folder: Path
    address: str
    port: int
    line: Line
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def ca(self) -> Path:
        """The certificate that signs the registry's."""
        return self.folder / "ca.pem"

    @property
    def host(self) -> str:
        return f"{self.address}:{self.line.port}"

    def reference(self, image: str, tag: str = "1") -> str:
        return f"{self.host}/{image}:{tag}"

    def login(self, password: str = PASSWORD) -> dict[str, str]:
        """Return credentials in the engine's own names."""
        return {"username": USER, "password": password, "serveraddress": self.host}

    def publish(self, engine: Moby, image: str, tag: str = "1", *, size_bytes: int = 0) -> str:
        """Put an image like the tests' one into the registry, and not into the engine.

        It has `size_bytes` that do not compress. Returns its reference by digest.
        """
        repository = f"{self.host}/{image}"
        content = root_tree(os.urandom(max(size_bytes, 8)))
        engine.api.import_image_from_data(content, repository=repository, tag=tag)
        said = engine.api.push(
            repository, tag=tag, auth_config=self.login(), stream=True, decode=True
        )
        digest = ""
        for step in said:
            assert "error" not in step, step["error"]
            digest = step.get("aux", {}).get("Digest", digest)
        engine.api.remove_image(f"{repository}:{tag}", force=True)
        return f"{repository}@{digest}"

    def start(self) -> None:
        """Run it, and wait until it answers."""
        with (self.folder / "registry.log").open("ab") as log:
            command = ["docker-registry", "serve", str(self.folder / "registry.yml")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection((self.address, self.port), timeout=1).close()
                return
            log_text = (self.folder / "registry.log").read_text("utf-8", "replace")
            assert self.process.poll() is None, log_text[-2000:]
            assert time.monotonic() < deadline, log_text[-2000:]
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once; `start` brings it back."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def missing_registry() -> str | None:
    """Say what this machine lacks for a registry of our own."""
    found = shutil.which("docker-registry")
    return None if found else "needs docker-registry (package docker-registry)"


def own_address() -> str:
    """Return this machine's address towards the network; the loopback's where it has no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@contextmanager
def registry(folder: Path) -> Iterator[Registry]:
    """Run an empty registry below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    address = own_address()
    with socket.create_server((address, 0)) as held:
        port = int(held.getsockname()[1])
    _write_certificates(folder, address)
    (folder / "htpasswd").write_text(_HTPASSWD)
    config = _CONFIG.format(folder=folder, address=address, port=port)
    (folder / "registry.yml").write_text(config)
    with line(address, (address, port)) as wire:
        made = Registry(folder, address, port, wire)
        made.start()
        try:
            yield made
        finally:
            made.kill()


def _write_certificates(folder: Path, address: str) -> None:
    start = datetime.now(UTC) - timedelta(hours=1)
    authority = new_authority("registry root", start)
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address))]
    issued = authority.sign(name("registry"), key.public_key(), start, 2, names=names)
    (folder / "ca.pem").write_text(pem_of(authority.certificate))
    (folder / "chain.pem").write_text(pem_of(issued))
    (folder / "key.pem").write_text(key_pem_of(key))
    (folder / "key.pem").chmod(0o600)
