"""One connection to the hub over MQTT, without its transport.

Bytes come in by `received`, go out by the head's `write`. The connection is one of: waiting for
CONNECT, being checked (what comes meanwhile waits), open, closed.

Invariants
- A client publishes and hears only of its own identity.
- A message of QoS 1 is acknowledged when it is on disk, one to the client is settled when the
  client has acknowledged it.
- What a client does wrong ends its connection and touches no other.
- At most `_WINDOW` messages are on their way to a client; a client that does not read is closed.

Sources: azure-iot-edge.md §6.4, device-sdk-wire.md §4.1 and §4.2.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence

from skerry.base.errors import SkerryError
from skerry.wire.mqtt import (
    FAILED_SUBSCRIPTION,
    ConnAck,
    Connect,
    Disconnect,
    MqttError,
    Packet,
    PingReq,
    PingResp,
    ProtocolLevelError,
    PubAck,
    Publish,
    Reader,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    encode,
)
from skerry.wire.topics import (
    DESIRED,
    METHODS,
    TWIN_RESPONSES,
    Events,
    MethodResponse,
    ReportedPatch,
    TopicError,
    TwinGet,
    c2d_topic,
    decode_properties,
    desired_topic,
    join_properties,
    method_topic,
    parse_client_topic,
    parse_user_name,
    split_properties,
    twin_response_topic,
)
from skerry_lab.cloud import Cloud
from skerry_lab.dps.mqtt import DpsLink, is_dps
from skerry_lab.errors import ApiError
from skerry_lab.identity import Identity
from skerry_lab.links import NotSubscribedError
from skerry_lab.messages.model import C2d, Outcome, Telemetry, check_size
from skerry_lab.mqtt.ports import Claim, Head

REFUSED_PROTOCOL, REFUSED_ID, REFUSED_LATER, REFUSED_NAME, REFUSED = 1, 2, 3, 4, 5
_SERVER_ERROR = 500
_MAX_PACKET_BYTES = 320 * 1024
_MAX_WAITING_PACKETS = 64
_WINDOW = 50
_MAX_FILTERS = 50
_KNOWN_BAGS = 64


class Connection:
    """A client's connection; a `Link` once it is open."""

    def __init__(
        self, head: Head, certificates: tuple[bytes, ...], close: Callable[[], None], now: float
    ) -> None:
        self.identity = Identity("")
        self.expires_at: float | None = None
        self.began_at = self.heard_at = now
        self.keep_alive_seconds = 0
        self.is_open = False
        self.is_closed = False
        self.output: list[bytes] = []
        self._head = head
        self._certificates = certificates
        self._close = close
        self._reader = Reader(_MAX_PACKET_BYTES)
        self._waiting: list[Packet] = []
        self._is_checked = False
        self._claim: Claim | None = None
        self._dps: DpsLink | None = None
        self._filters: dict[str, int] = {}
        self._keeps_session = False
        self._bags: dict[str, tuple[Identity, Mapping[str, str], Mapping[str, str]]] = {}
        self._last_id = 0
        self._sent: dict[int, C2d | None] = {}
        self._is_fetching = False
        self._calls: dict[str, asyncio.Future[tuple[int, bytes]]] = {}
        self._call_count = 0

    @property
    def is_served(self) -> bool:
        """Whether the client has its CONNACK, from the hub or from DPS."""
        return self.is_open or self._is_checked

    def received(self, data: bytes, now: float) -> None:
        """Take bytes of the client."""
        self.heard_at = now
        try:
            for packet in self._reader.feed(data):
                self._take(packet)
                if self.is_closed:
                    return
        except ProtocolLevelError as error:
            self._send(ConnAck(REFUSED_PROTOCOL))
            self.close(str(error))
        except SkerryError as error:
            self.close(str(error))

    def lost(self) -> None:
        """The transport has ended."""
        if not self.is_closed:
            self.close("the client has gone")

    def close(self, reason: str) -> None:
        """End the connection; what is still to be sent is sent."""
        if self.is_closed:
            return
        self.is_closed = True
        self._head.log.debug("connection ends", client=str(self.identity), reason=reason)
        for future in self._calls.values():
            if not future.done():
                future.set_exception(ConnectionError("the client has gone"))
        if self.is_open:
            self.is_open = False
            self._head.links.remove(self)
            if self._sent:
                self._head.spawn(self._release())
        self._close()

    async def _release(self) -> None:
        await self._head.ado(lambda cloud: cloud.messages.release(self.identity))

    def desired(self, version: int, patch: Mapping[str, object]) -> None:
        """Tell of changed desired properties."""
        qos = self._filters.get(DESIRED)
        if qos is not None:
            body = json.dumps({**patch, "$version": version}, separators=(",", ":")).encode()
            try:
                self._publish(desired_topic(version), body, qos)
            except MqttError as error:  # it acknowledges nothing; others are to be told still
                self.close(str(error))

    def c2d_waiting(self) -> None:
        """Fetch messages for the client, unless that is under way."""
        if self._c2d_qos() is not None and not self._is_fetching and len(self._sent) < _WINDOW:
            self._is_fetching = True
            self._head.spawn(self._fetch())

    def identity_changed(self) -> None:
        """Check the client's claim again."""
        self._head.spawn(self._check_again())

    async def call(self, name: str, payload: bytes, timeout_seconds: float) -> tuple[int, bytes]:
        """Call a direct method. Raises: NotSubscribedError, TimeoutError, ConnectionError."""
        qos = self._filters.get(METHODS)
        if qos is None:
            raise NotSubscribedError(f"{self.identity} does not take direct methods")
        self._call_count += 1
        request_id = f"{self._call_count:x}"
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._calls[request_id] = future
        try:
            self._publish(method_topic(name, request_id), payload, qos)
            async with asyncio.timeout(timeout_seconds):
                return await future
        finally:
            del self._calls[request_id]

    # --- packets

    def _take(self, packet: Packet) -> None:
        if self.is_served:
            self._serve(packet)
        elif self._claim is None and self._dps is None:
            if not isinstance(packet, Connect):
                raise MqttError(f"{type(packet).__name__} came first, expected Connect")
            self._connect(packet)
        elif len(self._waiting) < _MAX_WAITING_PACKETS:
            self._waiting.append(packet)
        else:
            raise MqttError(f"more than {_MAX_WAITING_PACKETS} packets before the CONNACK")

    def _connect(self, packet: Connect) -> None:
        self.keep_alive_seconds = packet.keep_alive_seconds
        if is_dps(packet.username):
            self._dps = self._head.dps()
            self._head.spawn(self._check_dps(self._dps, packet))
            return
        try:
            name = parse_user_name(packet.username or "")
            token = None if packet.password is None else packet.password.decode()
        except (TopicError, UnicodeDecodeError) as error:
            self._refuse(REFUSED_NAME, str(error))
            return
        self._claim = Claim(name, token or None, self._certificates)
        self.identity = self._claim.identity
        if packet.client_id != str(self.identity):
            self._refuse(REFUSED_ID, f"client id {packet.client_id!r} is not {self.identity}")
            return
        self._keeps_session = not packet.clean_session
        self._head.spawn(self._check(self._claim))

    async def _check(self, claim: Claim) -> None:
        identity = claim.identity

        def work(cloud: Cloud) -> tuple[float | None, dict[str, int] | None]:
            granted = cloud.access.connect(
                identity, claim.name.host, claim.token, claim.certificates
            )
            if not self._keeps_session:
                cloud.sessions.delete(identity)
            # A lab that was killed has left its locks.
            cloud.messages.release(identity)
            return granted.expires_at, cloud.sessions.load(identity)

        try:
            self.expires_at, filters = await self._head.ado(work)
        except ApiError as error:
            later = error.status >= _SERVER_ERROR
            self._refuse(REFUSED_LATER if later else REFUSED, str(error))
            return
        if self.is_closed:
            return
        self._filters = filters or {}
        self.is_open = True
        self._head.links.add(self)
        self._send(ConnAck(0, filters is not None))
        self._begin()
        self.c2d_waiting()

    async def _check_dps(self, dps: DpsLink, packet: Connect) -> None:
        code = await dps.connect(packet, self._certificates)
        if code:
            self._refuse(code, "DPS does not take the client")
        elif not self.is_closed:
            self._is_checked = True
            self._send(ConnAck())
            self._begin()

    def _begin(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            for packet in waiting:
                self._serve(packet)
        except SkerryError as error:
            self.close(str(error))

    async def _check_again(self) -> None:
        claim = self._claim
        if claim is None or self.is_closed:
            return
        try:
            granted = await self._head.ado(
                lambda cloud: cloud.access.connect(
                    claim.identity, claim.name.host, claim.token, claim.certificates
                )
            )
        except ApiError as error:
            self.close(str(error))
        else:
            self.expires_at = granted.expires_at

    def _refuse(self, code: int, reason: str) -> None:
        self._send(ConnAck(code))
        self.close(reason)

    def _serve(self, packet: Packet) -> None:
        match packet:
            case Publish():
                self._published(packet)
            case PubAck(packet_id):
                self._acknowledged(packet_id)
            case Subscribe():
                self._subscribe(packet)
            case Unsubscribe():
                self._unsubscribe(packet)
            case PingReq():
                self._send(PingResp())
            case Disconnect():
                self.close("the client says goodbye")
            case _:
                raise MqttError(f"{type(packet).__name__} is not for a client to send")

    def _subscribe(self, packet: Subscribe) -> None:
        codes = [self._granted(text, qos) for text, qos in packet.filters]
        self._filters |= {
            text: code
            for (text, _), code in zip(packet.filters, codes, strict=True)
            if code != FAILED_SUBSCRIPTION
        }
        if len(self._filters) > _MAX_FILTERS:
            raise MqttError(f"more than {_MAX_FILTERS} subscriptions")
        self._head.spawn(self._remember(SubAck(packet.packet_id, tuple(codes))))

    def _granted(self, text: str, qos: int) -> int:
        if text.startswith("devices/") and not text.startswith(self._prefix):
            return FAILED_SUBSCRIPTION
        return min(qos, 1)

    def _unsubscribe(self, packet: Unsubscribe) -> None:
        for text in packet.filters:
            self._filters.pop(text, None)
        self._head.spawn(self._remember(UnsubAck(packet.packet_id)))

    async def _remember(self, answer: SubAck | UnsubAck) -> None:
        if self._keeps_session and self._dps is None:
            filters = dict(self._filters)
            await self._head.ado(lambda cloud: cloud.sessions.save(self.identity, filters))
        self._send(answer)
        self.c2d_waiting()

    @property
    def _prefix(self) -> str:
        module_id = self.identity.module_id
        tail = "" if module_id is None else f"modules/{module_id}/"
        return f"devices/{self.identity.device_id}/{tail}"

    def _c2d_qos(self) -> int | None:
        if not self.is_open:
            return None
        return self._filters.get(f"{self._prefix}messages/devicebound/#")

    # --- from the client

    def _published(self, packet: Publish) -> None:
        if packet.qos == 2:
            raise MqttError("QoS 2 is not offered")
        if self._dps is not None:
            self._acknowledge(packet)
            self._head.spawn(self._ask_dps(self._dps, packet))
            return
        if packet.topic.startswith("devices/"):
            self._telemetry(packet)
            return
        match parse_client_topic(packet.topic):
            case TwinGet(request_id):
                self._acknowledge(packet)
                self._head.spawn(self._twin(request_id))
            case ReportedPatch(request_id):
                self._acknowledge(packet)
                self._head.spawn(self._report(request_id, packet.payload))
            case MethodResponse(status, request_id):
                self._acknowledge(packet)
                future = self._calls.get(request_id)
                if future is not None and not future.done():
                    future.set_result((status, packet.payload))

    def _telemetry(self, packet: Publish) -> None:
        known = self._bags.get(packet.topic)
        if known is None:
            known = self._read_topic(packet.topic)
            if len(self._bags) >= _KNOWN_BAGS:
                self._bags.clear()
            self._bags[packet.topic] = known
        identity, system, properties = known
        if packet.retain:
            properties = {**properties, "mqtt-retain": "true"}
        message = Telemetry(identity, system, properties, packet.payload)
        check_size(message)
        self._head.store(self, packet.packet_id, message)

    def _read_topic(self, topic: str) -> tuple[Identity, Mapping[str, str], Mapping[str, str]]:
        found = parse_client_topic(topic)
        own = (self.identity.device_id, self.identity.module_id)
        if not isinstance(found, Events) or (found.device_id, found.module_id) != own:
            raise TopicError(f"topic {topic!r} is not one of {self.identity}")
        return (self.identity, *split_properties(decode_properties(found.bag)))

    def _acknowledge(self, packet: Publish) -> None:
        if packet.packet_id is not None:
            self._send(PubAck(packet.packet_id))

    async def _twin(self, request_id: str) -> None:
        try:
            document = await self._head.ado(lambda cloud: cloud.twins.document(self.identity))
        except ApiError as error:
            self._respond(error.status, request_id, str(error))
        else:
            self._respond(200, request_id, document)

    async def _report(self, request_id: str, payload: bytes) -> None:
        try:
            patch = json.loads(payload)
        except (ValueError, RecursionError) as error:
            self._respond(400, request_id, f"the patch is not JSON: {error}")
            return
        try:
            version = await self._head.ado(
                lambda cloud: cloud.twins.patch_reported(self.identity, patch)
            )
        except ApiError as error:
            self._respond(error.status, request_id, str(error))
        else:
            self._respond(204, request_id, None, version)

    def _respond(
        self, status: int, request_id: str, body: object, version: int | None = None
    ) -> None:
        qos = self._filters.get(TWIN_RESPONSES)
        if qos is not None and self.is_open:
            if isinstance(body, str):
                body = {"Message": body}
            data = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
            self._publish(twin_response_topic(status, request_id, version), data, qos)

    async def _ask_dps(self, dps: DpsLink, packet: Publish) -> None:
        try:
            answers = await dps.publish(packet.topic, packet.payload)
        except TopicError as error:
            self.close(str(error))
            return
        qos = max(self._filters.values(), default=0)
        for topic, payload in answers:
            self._publish(topic, payload, qos)

    # --- to the client

    async def _fetch(self) -> None:
        try:
            room = _WINDOW - len(self._sent)
            found = await self._head.ado(lambda cloud: cloud.messages.next_c2d(self.identity, room))
        finally:
            self._is_fetching = False
        qos = self._c2d_qos()
        if qos is None:  # it has gone meanwhile, or listens no more
            if found:
                await self._release()
            return
        for message in found:
            self._deliver(message, qos)
        if found and not qos:
            self.c2d_waiting()

    def _deliver(self, message: C2d, qos: int) -> None:
        bag = join_properties(message.system, message.properties)
        topic = c2d_topic(self.identity.device_id, bag, self.identity.module_id)
        packet_id = self._publish(topic, message.body, qos)
        if packet_id is None:
            self._head.spawn(self._settle(message))
        else:
            self._sent[packet_id] = message

    def _acknowledged(self, packet_id: int) -> None:
        message = self._sent.pop(packet_id, None)
        if message is not None:
            self._head.spawn(self._settle(message))

    async def _settle(self, message: C2d) -> None:
        try:
            await self._head.ado(
                lambda cloud: cloud.messages.settle(
                    self.identity, message.lock_token, Outcome.COMPLETE
                )
            )
        except ApiError as error:  # its lock has ended: it comes again
            self._head.log.debug("not settled", client=str(self.identity), reason=str(error))
        self.c2d_waiting()

    def _publish(self, topic: str, payload: bytes, qos: int) -> int | None:
        packet_id = None
        if qos:
            packet_id = self._new_id()
            self._sent[packet_id] = None
        self._send(Publish(topic, payload, qos, packet_id))
        return packet_id

    def _new_id(self) -> int:
        for _ in range(65535):
            self._last_id = self._last_id % 65535 + 1
            if self._last_id not in self._sent:
                return self._last_id
        raise MqttError("the client acknowledges nothing")

    def stored(self, packet_ids: Sequence[int]) -> None:
        """Acknowledge messages that are on disk now."""
        if not self.is_closed:
            self.output.extend([b"\x40\x02" + packet_id.to_bytes(2) for packet_id in packet_ids])
            self._head.dirty(self)

    def _send(self, packet: Packet) -> None:
        self.output.append(encode(packet))
        self._head.dirty(self)
