"""One connection to the cloud, or to a parent hub, for one client: kept up while it is wanted.

Invariants
- A message is `published` when the cloud has acknowledged it; if the connection ends before, that
  is told, and whoever published sends it again.
- Pauses between attempts double from 1 s to 60 s, each shortened by chance, so that the clients of
  a thousand hubs do not come back at once. The hub's own connection looks at least every 8 s, and
  `hurry` wakes the others when it has found the cloud.
- A connection is made anew before its token ends: what is under way is waited for at most
  `_DRAIN_SECONDS`.

Source: azure-iot-edge.md §6.4, §8.4. To be used on the loop.
"""

import asyncio
import contextlib
import itertools
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.https import Proxy
from skerry.base.log import Logger
from skerry.hub.cloud.carrier import Carrier, open_carrier
from skerry.hub.errors import AccessError, OfflineError
from skerry.wire.identity import Identity
from skerry.wire.mqtt import Connect, MqttError, Publish
from skerry.wire.mqtt_client import (
    Acknowledged,
    Client,
    Event,
    Granted,
    Opened,
    Received,
    RefusedError,
)
from skerry.wire.sas import FreshToken
from skerry.wire.topics import (
    DESIRED,
    METHODS,
    TWIN_RESPONSES,
    DesiredPatch,
    MethodCall,
    TopicError,
    TwinResponse,
    c2d_topic,
    method_response_topic,
    parse_hub_topic,
    reported_topic,
    twin_get_topic,
    user_name,
)

API_VERSION = "2021-04-12"
_KEEP_ALIVE_SECONDS = 60
_NETWORK_SECONDS = 20.0
_ANSWER_SECONDS = 20.0
_DRAIN_SECONDS = 5.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, _OWN_PAUSE_SECONDS = 1.0, 60.0, 8.0
_SPREAD_SECONDS = 1.0
"""Within which those who were told that the cloud is back try again."""
_NO_CONTENT = 204
_FOR_GOOD = (2, 4, 5)  # codes of a CONNACK: identifier, bad credentials, not authorized


@dataclass(frozen=True)
class Upstream:
    """Where the cloud is and who this hub is there. `host` is dialled, `hub_name` is its name."""

    host: str
    port: int
    hub_name: str
    device_id: str
    token: Callable[[], Awaitable[FreshToken]]
    trust: Callable[[], ssl.SSLContext]
    product: str = ""
    is_web: bool = False
    """Whether MQTT goes over WebSocket."""
    proxy: Proxy | None = None
    """For WebSocket only."""


class Told(Protocol):
    """Who hears of what the cloud says to a client."""

    def connected(self, identity: Identity) -> None:
        """The cloud can be asked now."""

    def ended(self, identity: Identity, was_connected: bool) -> None:
        """The connection has ended, or an attempt at it failed; another one follows."""

    def moved(self, direction: str, cause: str, size_bytes: int) -> None:
        """Bytes were sent or received, by cause, and `all` of them."""

    def desired(self, identity: Identity, version: int, patch: Mapping[str, object]) -> None:
        """Desired properties have changed."""

    async def call(self, identity: Identity, name: str, payload: bytes) -> tuple[int, bytes]:
        """Call a direct method of the client."""

    async def message(self, identity: Identity, bag: str, payload: bytes) -> bool:
        """Pass a message on; False leaves it with the cloud."""


class CloudLink:
    """A client's connection, between `start` and `stop`."""

    def __init__(
        self,
        identity: Identity,
        upstream: Upstream,
        told: Told,
        clock: Clock,
        log: Logger,
        random: Random | None = None,
    ) -> None:
        self.identity = identity
        self.is_connected = False
        self.problem = ""
        """Why there is no connection; empty while there is one."""
        self.is_refused = False
        """Whether the cloud was reached last time and did not take this client."""
        self._upstream = upstream
        self._told = told
        self._clock = clock
        self._log = log
        self._random = random or Random()  # noqa: S311 - spreads load, keeps no secret
        self._hurried = asyncio.Event()
        self._client: Client | None = None
        self._carrier: Carrier | None = None
        self._is_dirty = False
        self._published: dict[int, asyncio.Future[None]] = {}
        self._asked: dict[str, asyncio.Future[tuple[int, int | None, bytes]]] = {}
        self._ids = itertools.count(1)
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._beside: set[asyncio.Task[None]] = set()

    @property
    def is_own(self) -> bool:
        """Whether this is the hub's own connection and not on behalf of a client."""
        return self.identity == Identity(self._upstream.device_id, "$edgeHub")

    def hurry(self) -> None:
        """Try soon: the cloud has been reached."""
        self._hurried.set()

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the connection."""
        tasks = [*self._beside, *([] if self._task is None else [self._task])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def tried(self, seconds: float) -> None:
        """Wait until the first attempt to connect has an outcome, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._tried.wait()

    async def publish(self, topic: str, payload: bytes) -> None:
        """Send a message, QoS 1. Raises: OfflineError when it may not have arrived."""
        client = self._opened()
        packet_id = client.publish(topic, payload)
        if packet_id is None:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._published[packet_id] = future
        self._told.moved("sent", "messages", len(topic) + len(payload))
        self._dirty()
        await future

    async def twin(self) -> dict[str, object]:
        """Return the client's twin. Raises: OfflineError, AccessError."""
        status, _, body = await self._ask(twin_get_topic, b"")
        if status != 200:
            raise AccessError(status, f"the cloud does not give the twin of {self.identity}")
        found = _json(body)
        if not isinstance(found, dict):
            raise AccessError(502, f"the cloud's twin of {self.identity} is not a JSON object")
        return found

    async def report(self, patch: Mapping[str, object]) -> int:
        """Change reported properties; returns their version. Raises: OfflineError, AccessError."""
        body = json.dumps(patch, separators=(",", ":")).encode()
        status, version, said = await self._ask(reported_topic, body)
        if status != _NO_CONTENT or version is None:
            reason = said.decode(errors="replace")[:200]
            raise AccessError(status, f"the cloud refuses properties of {self.identity}: {reason}")
        return version

    async def _ask(
        self, topic: Callable[[str], str], payload: bytes
    ) -> tuple[int, int | None, bytes]:
        client, request_id = self._opened(), f"{next(self._ids):x}"
        future = asyncio.get_running_loop().create_future()
        self._asked[request_id] = future
        try:
            client.publish(asked := topic(request_id), payload, qos=0)
            self._told.moved("sent", "twins", len(asked) + len(payload))
            self._dirty()
            async with asyncio.timeout(_ANSWER_SECONDS):
                found: tuple[int, int | None, bytes] = await future
                return found
        except TimeoutError:
            raise OfflineError(f"no answer from the cloud in {_ANSWER_SECONDS:g} s") from None
        finally:
            self._asked.pop(request_id, None)

    def _opened(self) -> Client:
        if self._client is None or not self.is_connected:
            raise OfflineError(self.problem or f"{self.identity} is not connected to the cloud")
        return self._client

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        longest = _OWN_PAUSE_SECONDS if self.is_own else _LONGEST_PAUSE_SECONDS
        while True:
            try:
                await self._converse()
                pause = _FIRST_PAUSE_SECONDS
                continue  # a new token
            except (SkerryError, OSError, TimeoutError) as error:
                self.is_refused = isinstance(error, RefusedError) and error.code in _FOR_GOOD
                self._tell(str(error) or type(error).__name__)
                self._told.ended(self.identity, self.is_connected)
                if self.is_connected:
                    pause = _FIRST_PAUSE_SECONDS
            finally:
                self._end()
            await self._rest(pause * self._random.uniform(0.5, 1.0))
            pause = min(pause * 2, longest)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurried.wait()
                await asyncio.sleep(self._random.uniform(0.0, _SPREAD_SECONDS))
        self._hurried.clear()

    async def _converse(self) -> None:
        """Connect and serve until a new token is due. Raises what ended it otherwise."""
        upstream, loop = self._upstream, asyncio.get_running_loop()
        token = await upstream.token()
        carrier = self._carrier = await open_carrier(
            upstream.host,
            upstream.port,
            upstream.trust(),
            _NETWORK_SECONDS,
            is_web=upstream.is_web,
            proxy=upstream.proxy,
        )
        try:
            client = self._client = Client(self._connect(token), loop.time())
            self._flush()
            granted: set[int] = set()
            while self._clock.now().timestamp() < token.renew_at:
                data = await self._read(carrier, client.due() - loop.time())
                for event in client.feed(data, loop.time()) if data else ():
                    self._take(client, event, granted)
                client.tick(loop.time())
                self._flush()
            await self._drain(carrier, client)
        finally:
            carrier.abort()

    async def _read(self, carrier: Carrier, seconds: float) -> bytes:
        try:
            # Not longer: the wall clock may jump meanwhile, and nothing else would tell.
            async with asyncio.timeout(min(max(seconds, 0.0), _KEEP_ALIVE_SECONDS / 2)):
                data = await carrier.read()
        except TimeoutError:
            return b""
        if not data:
            raise ConnectionResetError("the cloud has closed the connection")
        self._told.moved("received", "all", len(data))
        return data

    async def _drain(self, carrier: Carrier, client: Client) -> None:
        """Wait for the acknowledgements of what is under way, then say goodbye."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _DRAIN_SECONDS
        self.is_connected = False  # nothing new begins
        while self._published and loop.time() < until:
            data = await self._read(carrier, until - loop.time())
            for event in client.feed(data, loop.time()) if data else ():
                self._take(client, event, set())
        client.disconnect()
        self._flush()

    def _connect(self, token: FreshToken) -> Connect:
        upstream, client_id = self._upstream, str(self.identity)
        actor = upstream.device_id
        name = user_name(
            upstream.hub_name,
            client_id,
            API_VERSION,
            upstream.product,
            "" if self.is_own else f"{client_id};{actor}",
        )
        return Connect(client_id, name, token.text.encode(), False, _KEEP_ALIVE_SECONDS)

    def _take(self, client: Client, event: Event, granted: set[int]) -> None:
        match event:
            case Opened():
                device, module = self.identity.device_id, self.identity.module_id
                c2d = c2d_topic(device, {}, module) + "#"
                for one in (TWIN_RESPONSES, DESIRED, METHODS, c2d):
                    granted.add(client.subscribe([one]))
            case Granted(packet_id, _):
                granted.discard(packet_id)
                if not granted and not self.is_connected:
                    self.is_connected, self.problem, self.is_refused = True, "", False
                    self._tried.set()
                    self._told.connected(self.identity)
            case Acknowledged(packet_id):
                future = self._published.pop(packet_id, None)
                if future is not None and not future.done():
                    future.set_result(None)
            case Received(message):
                self._received(client, message)

    def _received(self, client: Client, message: Publish) -> None:
        size = len(message.topic) + len(message.payload)
        start = c2d_topic(self.identity.device_id, {}, self.identity.module_id)
        if message.topic.startswith(start):
            self._told.moved("received", "messages", size)
            self._spawn(self._pass_on(client, message, message.topic[len(start) :]))
            return
        client.acknowledge(message)
        try:
            found = parse_hub_topic(message.topic)
        except TopicError as error:
            raise MqttError(str(error)) from error
        cause = "methods" if isinstance(found, MethodCall) else "twins"
        self._told.moved("received", cause, size)
        match found:
            case TwinResponse(status, request_id, version):
                future = self._asked.get(request_id)
                if future is not None and not future.done():
                    future.set_result((status, version, message.payload))
            case DesiredPatch(version):
                patch = _json(message.payload)
                if isinstance(patch, dict):
                    self._told.desired(self.identity, version, patch)
            case MethodCall(name, request_id):
                self._spawn(self._call(client, name, request_id, message.payload))

    async def _pass_on(self, client: Client, message: Publish, bag: str) -> None:
        if await self._told.message(self.identity, bag, message.payload):
            client.acknowledge(message)
            self._dirty()

    async def _call(self, client: Client, name: str, request_id: str, payload: bytes) -> None:
        status, answer = await self._told.call(self.identity, name, payload)
        if client is self._client:  # nobody waits for an answer on a former connection
            topic = method_response_topic(status, request_id)
            client.publish(topic, answer, qos=0)
            self._told.moved("sent", "methods", len(topic) + len(answer))
            self._dirty()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def _dirty(self) -> None:
        if not self._is_dirty:
            self._is_dirty = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_dirty = False
        if self._client is not None and self._carrier is not None:
            data = self._client.output(asyncio.get_running_loop().time())
            if data:
                self._told.moved("sent", "all", len(data))
                self._carrier.write(data)

    def _end(self) -> None:
        self.is_connected = False
        self._client = self._carrier = None
        futures: list[asyncio.Future[Any]] = [*self._published.values(), *self._asked.values()]
        self._published.clear()
        for future in futures:
            if not future.done():
                future.set_exception(OfflineError("the connection to the cloud has ended"))
                with contextlib.suppress(OfflineError):
                    future.exception()  # nobody may be waiting any more

    def _tell(self, reason: str) -> None:
        self._tried.set()
        if reason != self.problem:
            self.problem = reason
            self._log.warning("cloud not reached", client=str(self.identity), reason=reason)


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
