"""A module's telemetry to its hub: MQTT over TLS at QoS 1, as a device SDK sends it.

Invariants
- A message waits until the hub has acknowledged it, also over lost connections, so one may arrive
  twice. At most `MOST_WAITING` wait; beyond that the oldest is dropped and counted.
- One message is under way at a time: order is kept.
- `run` belongs to one thread and gives back neither connection nor error; what keeps it from
  sending is told once, until it sends again.
"""

import ssl
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.https import tls_connection
from skerry.wire.mqtt import Connect, MqttError
from skerry.wire.mqtt_client import Acknowledged, Client, Event, Opened
from skerry.wire.sas import FreshToken
from skerry.wire.topics import events_topic, user_name

MOST_WAITING = 1000
_API_VERSION = "2021-04-12"
_KEEP_ALIVE_SECONDS = 60
_CONNECT_SECONDS = 10.0
_LOOK_SECONDS = 0.2
_RETRY_SECONDS = 5.0
_READ_BYTES = 16 * 1024


@dataclass(frozen=True)
class Place:
    """Which hub, dialled where, and as whom; `hub_name` is the one that tokens are for."""

    host: str
    port: int
    hub_name: str
    device_id: str
    module_id: str
    output: str

    @property
    def client_id(self) -> str:
        return f"{self.device_id}/{self.module_id}"

    @property
    def audience(self) -> str:
        """Return what a token for this place is signed for."""
        return f"{self.hub_name}/devices/{self.device_id}/modules/{self.module_id}"

    @property
    def topic(self) -> str:
        """Return the topic of a message, UTF-8 JSON, by this output."""
        properties = {
            "$.on": self.output,
            "$.ct": "application/json",
            "$.ce": "utf-8",
        }
        return events_topic(self.device_id, self.module_id, properties)


class Uplink:
    """Sends what `put` was given."""

    def __init__(
        self,
        place: Place,
        token: Callable[[], FreshToken],
        trust: Callable[[], ssl.SSLContext],
        told: Callable[[str | None], None],
        clock: Clock,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        """`told` hears why nothing is sent, and None when the hub has taken the module."""
        self._place = place
        self._token = token
        self._trust = trust
        self._told = told
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._waiting: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._said: str | None = None
        self.acknowledged = 0
        self.dropped = 0

    def put(self, message: bytes) -> None:
        """Have a message sent when it can be."""
        with self._lock:
            self._waiting.append(message)
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
                self.dropped += 1

    def run(self, stop: threading.Event) -> None:
        """Connect and send until `stop`."""
        while not stop.is_set():
            try:
                self._connection(stop)
            except (OSError, SkerryError) as error:
                self._tell(str(error))
                stop.wait(self._retry_seconds)

    def _tell(self, reason: str | None) -> None:
        if reason is None or reason != self._said:
            self._told(reason)
        self._said = reason

    def _connection(self, stop: threading.Event) -> None:
        """Send over one connection, until its token is to be renewed or `stop`."""
        place, token = self._place, self._token()
        with tls_connection(place.host, place.port, self._trust(), None, _CONNECT_SECONDS) as sock:
            sock.settimeout(_LOOK_SECONDS)
            name = user_name(place.hub_name, place.client_id, _API_VERSION, "skerry-module")
            connect = Connect(place.client_id, name, token.text.encode(), True, _KEEP_ALIVE_SECONDS)
            client = Client(connect, self._clock.monotonic())
            sending = _Sending(client)
            while not stop.is_set() and self._clock.now().timestamp() < token.renew_at:
                self._send_next(sending)
                client.tick(self._clock.monotonic())
                sock.sendall(client.output(self._clock.monotonic()))
                try:
                    data = sock.recv(_READ_BYTES)
                except TimeoutError:
                    continue
                if not data:
                    raise MqttError("the hub closed the connection")
                for event in client.feed(data, self._clock.monotonic()):
                    self._happened(sending, event)
            client.disconnect()
            sock.sendall(client.output(self._clock.monotonic()))

    def _send_next(self, sending: "_Sending") -> None:
        with self._lock:
            if sending.is_open and sending.message is None and self._waiting:
                sending.message = self._waiting[0]
                sending.client.publish(self._place.topic, sending.message)

    def _happened(self, sending: "_Sending", event: Event) -> None:
        if isinstance(event, Opened):
            sending.is_open = True
            self._tell(None)
        elif isinstance(event, Acknowledged):
            with self._lock:
                # it may have been dropped meanwhile
                if self._waiting and self._waiting[0] is sending.message:
                    self._waiting.popleft()
                self.acknowledged += 1
            sending.message = None


@dataclass
class _Sending:
    """One connection: whether the hub took the module, and the message that is under way."""

    client: Client
    is_open: bool = False
    message: bytes | None = None
