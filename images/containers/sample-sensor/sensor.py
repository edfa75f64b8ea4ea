"""The sample workload: shows that a module can prove who it is, then logs readings.

Everything comes from the environment that edged and the agent give every module (IOTEDGE_*) and
from the workload API on the module's own socket; only Python's standard library is used. The proof
is a TLS handshake in memory: the identity certificate and its key as the client, the trust bundle
as the only authority, so it holds only if the chain is right and the key belongs to it.

Exit status: 0 ended by SIGTERM, 1 the identity could not be proved (the message says what failed).
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
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

SOCKET_SECONDS = 60.0
RETRY_SECONDS = 1.0


class SensorError(Exception):
    """The identity could not be proved."""


class WorkloadApi:
    """The three calls a module needs, over the unix socket that is its own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        try:
            uri = urlsplit(environment["IOTEDGE_WORKLOADURI"])
            self._version = environment["IOTEDGE_APIVERSION"]
            self._module = quote(environment["IOTEDGE_MODULEID"], safe="")
            self._generation = quote(environment["IOTEDGE_MODULEGENERATIONID"], safe="")
        except KeyError as error:
            raise SensorError(
                f"environment variable {error} is not set; run me as a module"
            ) from error
        if uri.scheme != "unix":
            raise SensorError(f"IOTEDGE_WORKLOADURI is {uri.geturl()!r}, expected unix:///path")
        self._path = uri.path

    def identity_certificate(self) -> tuple[str, str]:
        """Return the module's certificate chain and private key, both PEM."""
        answer = self._call("POST", f"/modules/{self._module}/certificate/identity")
        return answer["certificate"], answer["privateKey"]["bytes"]

    def trust_bundle(self) -> str:
        """Return the certificates that this device trusts, PEM."""
        return self._call("GET", "/trust-bundle")["certificate"]

    def sign(self, data: bytes) -> bytes:
        """Return HMAC-SHA256 of data under the module's key."""
        path = f"/modules/{self._module}/genid/{self._generation}/sign"
        body = {"keyId": "primary", "algo": "HMACSHA256", "data": base64.b64encode(data).decode()}
        return base64.b64decode(self._call("POST", path, body)["digest"])

    def wait(self, seconds: float) -> None:
        """Wait until the socket accepts a connection."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._connect().close()
            except OSError as error:
                if time.monotonic() > deadline:
                    text = (
                        f"the workload socket {self._path} did not open in {seconds:g} s: {error}"
                    )
                    raise SensorError(text) from error
                time.sleep(RETRY_SECONDS)
            else:
                return

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(SOCKET_SECONDS)
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        return connection

    def _call(self, method: str, path: str, body: object = None) -> dict:
        connection = http.client.HTTPConnection("localhost")
        try:
            connection.sock = self._connect()
            payload = None if body is None else json.dumps(body)
            connection.request(
                method,
                f"{path}?api-version={self._version}",
                body=payload,
                headers={} if payload is None else {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise SensorError(f"{method} {path} was not answered: {error}") from error
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise SensorError(f"{method} {path} was refused with {response.status}: {text}")
        return json.loads(text)


def prove_identity(certificate: str, private_key: str, trust_bundle: str) -> str:
    """Shake hands with ourselves, as client under the trust bundle; returns the subject's CN."""
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder, "pair.pem")
        pair.touch(0o600)
        pair.write_text(private_key + certificate)
        try:
            server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.load_cert_chain(pair)
            server.load_verify_locations(cadata=trust_bundle)
            server.verify_mode = ssl.CERT_REQUIRED
            client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            client.check_hostname = False
            # the proof is about the client; what the server shows is the same certificate
            client.verify_mode = ssl.CERT_NONE
            client.load_cert_chain(pair)
            subject = _shake_hands(server, client)
        except ssl.SSLError as error:
            raise SensorError(
                f"the identity certificate is not proved by the trust bundle: {error}"
            ) from error
    return next(value for part in subject for name, value in part if name == "commonName")


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server),
    ]
    waiting = list(ends)
    while waiting:
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
    return ends[0].getpeercert()["subject"]


def reading(second: float) -> float:
    """Return a temperature in degrees Celsius that changes as a day does."""
    return round(21.0 + 4.0 * math.sin(second / 60.0), 2)


def say(**fields: object) -> None:
    """Write one JSON line."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def main(environment: Mapping[str, str], stop: threading.Event) -> int:
    """Prove the identity once, then log readings until stopped."""
    try:
        seconds = float(environment.get("POLL_SECONDS", "5"))
        api = WorkloadApi(environment)
        api.wait(SOCKET_SECONDS)
        certificate, private_key = api.identity_certificate()
        name = prove_identity(certificate, private_key, api.trust_bundle())
        signature = api.sign(
            f"{environment['IOTEDGE_IOTHUBHOSTNAME']}\n{int(time.time())}".encode()
        )
    except (SensorError, ValueError, KeyError) as error:
        sys.stderr.write(f"sample sensor: {error}\n")
        return 1
    say(event="identity proven", module=name, signature_bytes=len(signature))
    number = 0
    while not stop.is_set():
        number += 1
        say(event="reading", number=number, temperature_celsius=reading(time.time()))
        stop.wait(seconds)
    return 0


if __name__ == "__main__":
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    sys.exit(main(os.environ, stopping))
