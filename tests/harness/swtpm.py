"""A TPM of one's own: swtpm on ports of its own, its state in a folder, ended by its process id.

A TPM knows two callers here: the service under test, by `tcti`, and the test itself, by `raw()`,
one after the other: swtpm talks to one at a time.
"""

import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_SECONDS = 10
_TRIES = 50
_PORTS = range(15000, 32000)


@dataclass
class Swtpm:
    """One TPM; `version` 2, or 1 for a TPM 1.2."""

    folder: Path
    version: int = 2
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def tcti(self) -> str:
        """How a TPM stack reaches it."""
        return f"swtpm:host=127.0.0.1,port={self.port}"

    def start(self) -> None:
        """Switch the TPM on, at the same port as before if it had one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        former = self.port
        for _ in range(_TRIES):
            self.port = former or _free_pair()
            if self._started():
                return
        raise AssertionError("swtpm does not start: " + self._log())

    def stop(self) -> None:
        """Cut the power."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """Cut the power and switch on again."""
        self.stop()
        self.start()

    def extend(self, pcr: int) -> None:
        """Measure something into a PCR."""
        from tpm2_pytss.constants import ESYS_TR, TPM2_ALG
        from tpm2_pytss.types import TPML_DIGEST_VALUES, TPMT_HA, TPMU_HA

        digest = TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=TPMU_HA(sha256=b"m" * 32))
        with self.raw() as esapi:
            esapi.pcr_extend(ESYS_TR(pcr), TPML_DIGEST_VALUES([digest]))

    @contextlib.contextmanager
    def raw(self) -> Iterator[Any]:
        """Yield an ESAPI context of the test's own."""
        from tpm2_pytss import ESAPI

        with ESAPI(self.tcti) as esapi:
            yield esapi

    def _started(self) -> bool:
        flags = "startup-clear" if self.version == 2 else "not-need-init"
        command = [
            "swtpm", "socket", "--tpmstate", f"dir={self.folder}",
            "--server", f"type=tcp,port={self.port},bindaddr=127.0.0.1",
            "--ctrl", f"type=tcp,port={self.port + 1},bindaddr=127.0.0.1",
            "--flags", f"not-need-init,{flags}",
        ]  # fmt: skip
        if self.version == 2:
            command.insert(2, "--tpm2")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError):
                _probe(self.port + 1)
                return True
            os.sched_yield()
        self.stop()
        return False

    def _log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")


@contextlib.contextmanager
def swtpm(folder: Path, version: int = 2) -> Iterator[Swtpm]:
    """Yield a running TPM."""
    tpm = Swtpm(folder, version)
    tpm.start()
    try:
        yield tpm
    finally:
        tpm.stop()


def _free_pair() -> int:
    """Return a port that is free with the next one: the TPM stack takes control there.

    Below those that the kernel gives to connections: nobody else gets one between look and use.
    """
    for _ in range(_TRIES):
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            port = _PORTS.start + secrets.randbelow(len(_PORTS))
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port
    raise AssertionError("no two neighbouring ports are free")


def _probe(port: int) -> None:
    # the control port: a connection to the other one would end with the TPM's only talk
    socket.create_connection(("127.0.0.1", port), timeout=1).close()
