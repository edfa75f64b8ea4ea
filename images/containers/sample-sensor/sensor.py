"""The sample workload: proves who it is, then logs readings and sends them to the edge hub.

Everything comes from the environment that edged and the agent give every module (IOTEDGE_*) and
from the module's own socket. Where no hub runs on the device the readings are logged alone. The
proof is a TLS handshake
in memory: one end shows the identity certificate, the other trusts nothing but the trust bundle. It
succeeds only if the certificate chains to the bundle and the private key belongs to it. The key
stays in memory.

Standard output: one JSON object a line. Exit status: 0 ended by SIGTERM or SIGINT; 1 the identity
could not be proved; 2 the environment is not that of a module. Standard error says why.
"""

import base64
import http.client
import json
import math
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

from skerry.base.clock import SystemClock
from skerry.module.uplink import Place, Uplink
from skerry.module.workload import WorkloadClient

ANSWER_SECONDS = 60.0
SOCKET_SECONDS = 120.0
RETRY_SECONDS = 1.0
END_SECONDS = 3.0
TOKEN_SECONDS = 3600
HMAC_BYTES = 32
LAST_PORT = 65535
OUTPUT = "telemetry"


class EnvironmentProblem(Exception):
    """The environment is not that of a module."""


class NotProvedError(Exception):
    """The identity could not be proved."""


@dataclass(frozen=True)
class Settings:
    """What the environment says."""

    socket_path: str
    api_version: str
    hub: str
    device: str
    module: str
    generation: str
    interval_seconds: float
    gateway: str
    gateway_port: int


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the environment; raises EnvironmentProblem."""

    def given(name: str) -> str:
        if not environment.get(name):
            raise EnvironmentProblem(f"{name} is not set; edged sets it for every module")
        return environment[name]

    uri = urlsplit(given("IOTEDGE_WORKLOADURI"))
    if uri.scheme != "unix":
        raise EnvironmentProblem(f"IOTEDGE_WORKLOADURI is {uri.geturl()!r}, expected unix:///PATH")
    interval = environment.get("INTERVAL_SECONDS", "5")
    try:
        seconds = float(interval)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise EnvironmentProblem(f"INTERVAL_SECONDS is {interval!r}, expected a number above 0")
    port = environment.get("GATEWAY_PORT", "8883")
    if not port.isdecimal() or not 0 < int(port) <= LAST_PORT:
        raise EnvironmentProblem(f"GATEWAY_PORT is {port!r}, expected a port")
    return Settings(
        socket_path=uri.path,
        api_version=given("IOTEDGE_APIVERSION"),
        hub=given("IOTEDGE_IOTHUBHOSTNAME"),
        device=given("IOTEDGE_DEVICEID"),
        module=given("IOTEDGE_MODULEID"),
        generation=given("IOTEDGE_MODULEGENERATIONID"),
        interval_seconds=seconds,
        gateway=given("IOTEDGE_GATEWAYHOSTNAME"),
        gateway_port=int(port),
    )


class WorkloadApi:
    """The calls of one module; each opens a connection of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._module = f"/modules/{quote(settings.module, safe='')}"

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Wait until somebody listens on the socket, or until `stop`."""
        deadline = time.monotonic() + seconds
        while not stop.is_set():
            try:
                self._connect().close()
            except OSError as error:
                if time.monotonic() >= deadline:
                    raise NotProvedError(
                        f"nobody listens on {self._settings.socket_path} after {seconds:g} s "
                        f"({error.strerror}); is edged running?"
                    ) from error
                stop.wait(RETRY_SECONDS)
            else:
                return

    def identity_certificate(self) -> tuple[str, str]:
        """Return the certificate chain and the private key, both PEM."""
        answer = self._call("POST", f"{self._module}/certificate/identity")
        return str(answer["certificate"]), str(answer["privateKey"]["bytes"])

    def trust_bundle(self) -> str:
        """Return the certificates that this device trusts, PEM."""
        return str(self._call("GET", "/trust-bundle")["certificate"])

    def sign(self, data: bytes) -> bytes:
        """Return HMAC-SHA256 of the data under the module's key."""
        path = f"{self._module}/genid/{quote(self._settings.generation, safe='')}/sign"
        text = base64.b64encode(data).decode("ascii")
        answer = self._call("POST", path, {"keyId": "primary", "algo": "HMACSHA256", "data": text})
        return base64.b64decode(answer["digest"])

    def _call(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("localhost")
        payload = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.sock = self._connect()
            target = f"{path}?api-version={self._settings.api_version}"
            connection.request(method, target, body=payload, headers=headers)
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise NotProvedError(f"{method} {path} was not answered: {error}") from error
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise NotProvedError(f"{method} {path} was refused with {response.status}: {text}")
        return json.loads(text)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(self._settings.socket_path)
        except OSError:
            connection.close()
            raise
        return connection


def prove(api: WorkloadApi, settings: Settings) -> dict[str, object]:
    """Prove the identity; returns what is told about it. Raises NotProvedError."""
    try:
        certificate, private_key = api.identity_certificate()
        facts = check_certificate(certificate, private_key, api.trust_bundle())
        sign_token(api, settings, int(time.time()) + TOKEN_SECONDS)
    except (KeyError, TypeError, ValueError) as error:
        raise NotProvedError(f"the workload API's answer is not understood: {error!r}") from error
    if facts["subject"] != settings.module:
        raise NotProvedError(
            f"the certificate is for {facts['subject']!r}, expected {settings.module!r}"
        )
    return facts


def check_certificate(certificate: str, private_key: str, trust_bundle: str) -> dict[str, object]:
    """Shake hands with ourselves under the trust bundle; returns the facts of the certificate."""
    try:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        # the client is who proves itself here; what the server end shows is the same certificate
        client.verify_mode = ssl.CERT_NONE
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_verify_locations(cadata=trust_bundle)
        for end in (client, server):
            load_pair(end, certificate, private_key)
        shown = shake_hands(server, client)
    except ssl.SSLError as error:
        raise NotProvedError(
            f"the identity certificate does not hold under the trust bundle: {error}"
        ) from error
    return {
        "subject": common_name(shown["subject"]),
        "issuer": common_name(shown["issuer"]),
        "expires": shown["notAfter"],
    }


def load_pair(context: ssl.SSLContext, certificate: str, private_key: str) -> None:
    """Give a context the certificate and its key, which `ssl` takes from a file only."""
    with os.fdopen(os.memfd_create("pair"), "wb") as memory:
        memory.write(f"{private_key}\n{certificate}".encode())
        memory.flush()
        context.load_cert_chain(f"/proc/self/fd/{memory.fileno()}")


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> Mapping[str, Any]:
    """Run a TLS handshake in memory; returns the client's certificate as the server saw it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    seen = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [seen, client.wrap_bio(to_client, to_server)]
    while waiting:
        for end in tuple(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
    return seen.getpeercert() or {}


def common_name(names: Iterable[Iterable[tuple[str, str]]]) -> str:
    """Return the common name of a subject or issuer as `getpeercert` gives it."""
    return next((value for part in names for key, value in part if key == "commonName"), "")


def sign_token(api: WorkloadApi, settings: Settings, expiry: int) -> str:
    """Return the token that a device SDK would send to its hub."""
    path = f"{settings.hub}/devices/{settings.device}/modules/{settings.module}"
    resource = quote_plus(path, safe="")
    signature = api.sign(f"{resource}\n{expiry}".encode())
    # more cannot be checked without the key
    if len(signature) != HMAC_BYTES:
        raise NotProvedError(f"sign answered {len(signature)} bytes, expected {HMAC_BYTES}")
    encoded = quote_plus(base64.b64encode(signature))
    return f"SharedAccessSignature sr={resource}&sig={encoded}&se={expiry}"


def temperature(second: float) -> float:
    """Return degrees Celsius that rise and fall."""
    return round(21.0 + 4.0 * math.sin(second / 60.0), 2)


def make_uplink(settings: Settings) -> Uplink:
    """Return the way of readings to the hub."""
    workload = WorkloadClient(
        Path(settings.socket_path), settings.api_version, settings.module, settings.generation
    )
    place = Place(
        settings.gateway,
        settings.gateway_port,
        settings.hub,
        settings.device,
        settings.module,
        OUTPUT,
    )

    def told(reason: str | None) -> None:
        if reason is None:
            say("hub reached", hub=settings.gateway)
        else:
            say("hub not reached", hub=settings.gateway, reason=reason)

    return Uplink(
        place,
        lambda: workload.token(place.audience, time.time()),
        workload.trust,
        told,
        SystemClock(),
    )


def say(event: str, **fields: object) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def main(environment: Mapping[str, str], stop: threading.Event) -> int:
    """Prove the identity once, then read, log and send until stopped; returns the exit status."""
    try:
        settings = read_settings(environment)
        api = WorkloadApi(settings)
        api.wait(SOCKET_SECONDS, stop)
        if not stop.is_set():
            say("identity proven", module=settings.module, **prove(api, settings))
    except EnvironmentProblem as problem:
        sys.stderr.write(f"sample-sensor: {problem}\n")
        return 2
    except NotProvedError as error:
        sys.stderr.write(f"sample-sensor: identity not proved: {error}\n")
        return 1
    uplink = make_uplink(settings)
    sender = threading.Thread(target=uplink.run, args=(stop,), daemon=True)
    sender.start()
    number = 0
    while not stop.is_set():
        number += 1
        reading = {"number": number, "temperature_celsius": temperature(time.time())}
        say("reading", **reading)
        uplink.put(json.dumps(reading).encode())
        stop.wait(settings.interval_seconds)
    sender.join(END_SECONDS)
    return 0


if __name__ == "__main__":
    stopping = threading.Event()
    for end_signal in (signal.SIGTERM, signal.SIGINT):
        signal.signal(end_signal, lambda _number, _frame: stopping.set())
    sys.exit(main(os.environ, stopping))
