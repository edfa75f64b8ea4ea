"""The collaborators of a real machine: systemd, the network, file systems, Moby."""

import os
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from skerry.base.clock import SystemClock
from skerry.base.errors import SkerryError
from skerry.base.https import HttpsClient, Proxy, trust_context
from skerry.check.appliance import (
    Appliance,
    EngineView,
    Options,
    Unit,
    Usage,
    is_superuser,
)

_COMMAND_SECONDS = 60
_PROPERTIES = "Id,LoadState,ActiveState,SubState,ExecMainStatus,NRestarts,Environment"
_HTTPS = 443
_NTP = 123
_NTP_EPOCH = 2_208_988_800
"""Seconds from 1900, where NTP begins, to 1970."""

_T = TypeVar("_T")


class Systemd:
    """Asks systemctl; one call for all units."""

    def states(self, names: tuple[str, ...]) -> Mapping[str, Unit]:
        try:
            shown = self.run("systemctl", "show", f"--property={_PROPERTIES}", *names)
        except (FileNotFoundError, SkerryError):
            # another init, or a container: whoever asks says so
            return {}
        return read_units(shown)

    def run(self, *command: str) -> str:
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise SkerryError(f"{' '.join(command)} did not end in time") from error
        if done.returncode:
            detail = done.stderr.strip().replace("\n", "; ")
            raise SkerryError(f"{' '.join(command)}: {detail or f'status {done.returncode}'}")
        return done.stdout


def read_units(shown: str) -> dict[str, Unit]:
    """Read the answer of `systemctl show`: blocks of KEY=VALUE with an empty line between."""
    units = {}
    for block in shown.split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        name = values.get("Id", "")
        if name:
            pairs = (word.partition("=")[::2] for word in values.get("Environment", "").split())
            units[name] = Unit(
                name,
                values.get("LoadState", ""),
                values.get("ActiveState", ""),
                values.get("SubState", ""),
                _number(values.get("ExecMainStatus", "")),
                _number(values.get("NRestarts", "")),
                dict(pairs),
            )
    return units


class Internet:
    """Plain sockets; a name server that never answers holds nobody up."""

    def resolve(self, host: str, seconds: float) -> list[str]:
        found = _within(
            seconds,
            lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM),
            f"{host!r} was not resolved within {seconds:.0f} s: no name server answers",
        )
        return sorted({str(entry[4][0]) for entry in found})

    def tls(
        self, host: str, port: int, roots: tuple[str, ...], proxy: Proxy | None, seconds: float
    ) -> str:
        context = trust_context(list(roots))
        if port == _HTTPS and proxy is not None:
            HttpsClient(context, proxy=proxy, timeout_seconds=seconds).request(
                "GET", f"https://{host}/"
            )
            return "TLS by the proxy"
        if not _is_address(host):
            self.resolve(host, seconds)
        with (
            socket.create_connection((host, port), seconds) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            return str(secured.version())

    def clock_offset(self, server: str, seconds: float) -> float:
        address = self.resolve(server, seconds)[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as link:
            link.settimeout(seconds)
            link.connect((address, _NTP))
            # version 4, client
            sent = time.time()
            link.send(bytes([0x23]) + bytes(47))
            answer = link.recv(512)
            received = time.time()
        return ntp_offset(answer, sent, received)


def ntp_offset(answer: bytes, sent: float, received: float) -> float:
    """Return how far the server is ahead, from its answer and our times (RFC 5905 §8)."""
    if len(answer) < 48 or answer[1] == 0:
        raise SkerryError("the time server gives no time (it is not synchronised, or refuses)")
    there_received, there_sent = (
        whole - _NTP_EPOCH + part / 2**32
        for whole, part in struct.iter_unpack(">II", answer[32:48])
    )
    return float((there_received - sent) + (there_sent - received)) / 2


def disk_usage(path: Path) -> Usage:
    """Return how full the file system of a path is."""
    found = os.statvfs(path)
    return Usage(
        found.f_bavail * found.f_frsize,
        found.f_blocks * found.f_frsize,
        found.f_favail,
        found.f_files,
    )


def moby(uri: str) -> EngineView:
    """Return Moby behind a URI."""
    from skerry.engine.client import MobyEngine

    return MobyEngine(uri)


def this_appliance(options: Options) -> Appliance:
    """Return this machine; SKERRY_RUN and SKERRY_HOST name other sockets, as for all verbs."""
    management = os.environ.get("SKERRY_HOST", "").removeprefix("unix://")
    return Appliance(
        clock=SystemClock(),
        units=Systemd(),
        network=Internet(),
        engine_at=moby,
        usage=disk_usage,
        hostname=socket.gethostname(),
        is_root=is_superuser(),
        run=Path(os.environ.get("SKERRY_RUN", "/run/skerry")),
        options=options,
        management=Path(management) if management else None,
    )


def explain(error: Exception) -> str:
    """Return why a connection failed, in one line that names what people can look at."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error})"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, TimeoutError):
        return str(error) or "it did not answer in time"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return str(error)


def _within(seconds: float, work: Callable[[], _T], late: str) -> _T:
    """Do something that cannot be interrupted, and give it up after its time."""
    done: list[_T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="resolver", daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(late)
    return done[0]


def _is_address(host: str) -> bool:
    return host.replace(".", "").isdigit() or ":" in host


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
