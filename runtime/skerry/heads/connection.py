"""One connection to the hub over MQTT, without its transport.

Bytes come in by `received`, go out by the head's `write`. The connection is one of: waiting for
CONNECT, being checked, admitted (for the hub it is then open), closed.

Invariants
- A client publishes and hears only of its own identity.
- A message of QoS 1 and a change of the twin are acknowledged when they are on disk.
- What a client does wrong ends its connection and touches no other.
- While the client is checked, and while `_MAX_BUSY` of its requests are under way, it is not read
  from; what of the last read is left waits. So a connection keeps one read, one packet and
  `_MAX_BUSY` requests at most. Before CONNECT a packet has `_MAX_FIRST_BYTES` at most.

Sources: azure-iot-edge.md §6.4, device-sdk-wire.md §4.1 and §4.2.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

from skerry.base.errors import SkerryError
from skerry.heads.delivery import Delivery
from skerry.heads.errors import AnswerError, HeadError, status_of
from skerry.heads.links import NotSubscribedError
from skerry.heads.model import MAX_MESSAGE_BYTES, Telemetry, bag_bytes
from skerry.heads.ports import (
    REFUSED,
    REFUSED_ID,
    REFUSED_LATER,
    REFUSED_NAME,
    REFUSED_PROTOCOL,
    Admitted,
    Claim,
    Head,
    Service,
)
from skerry.wire.identity import Identity
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
    decode_properties,
    desired_topic,
    method_topic,
    parse_client_topic,
    parse_user_name,
    split_properties,
    twin_response_topic,
)

_SERVER_ERROR = 500
_MAX_FIRST_BYTES = 64 * 1024
_MAX_PACKET_BYTES = 320 * 1024
_MAX_BUSY = 16
_MAX_FILTERS, _MAX_FILTER_BYTES = 50, 1024
_KNOWN_BAGS, _KNOWN_BAG_BYTES = 64, 1024
_RETAINED = {"mqtt-retain": "true"}


class Connection:
    """A client's connection; a `Link` once it is open."""

    def __init__(
        self, head: Head, certificates: tuple[bytes, ...], close: Callable[[], None], now: float
    ) -> None:
        self.identity = Identity("")
        self.expires_at: float | None = None
        self.opened_at = self.heard_at = now
        self.keep_alive_seconds = 0
        self.is_admitted = False
        self.is_open = False
        self.is_closed = False
        self.output: list[bytes] = []
        self._head = head
        self._certificates = certificates
        self._close = close
        self._reader = Reader(_MAX_FIRST_BYTES)
        self._waiting: deque[Packet] = deque()
        self._busy = 0
        self._is_checking = False
        self._claim: Claim | None = None
        self._service: Service | None = None
        self._filters: dict[str, int] = {}
        self._keeps_session = False
        self._bags: dict[str, tuple[Mapping[str, str], Mapping[str, str], int]] = {}
        self._delivery = Delivery(head, self)
        self._calls: dict[str, asyncio.Future[tuple[int, bytes]]] = {}
        self._call_count = 0

    # --- bytes

    def received(self, data: bytes, now: float) -> None:
        """Take bytes of the client."""
        if self.is_closed:
            return
        self.heard_at = now
        try:
            for packet in self._reader.feed(data):
                if self._is_held:
                    self._waiting.append(packet)
                else:
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
        self._waiting.clear()
        self._head.log.debug("connection ends", client=str(self.identity), reason=reason)
        for future in self._calls.values():
            if not future.done():
                future.set_exception(ConnectionError("the client has gone"))
        if self.is_open:
            self.is_open = False
            self._head.links.remove(self)
            self._delivery.end()
        self._close()

    # --- what the hub asks (links.Link)

    def desired(self, version: int, patch: Mapping[str, object]) -> None:
        """Tell of changed desired properties."""
        qos = self._filters.get(DESIRED)
        if qos is not None:
            body = json.dumps({**patch, "$version": version}, separators=(",", ":")).encode()
            self._delivery.tell(desired_topic(version), body, qos)

    def messages_waiting(self) -> None:
        """Fetch and deliver messages for the client."""
        self._delivery.look()

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
            self._delivery.tell(method_topic(name, request_id), payload, qos)
            async with asyncio.timeout(timeout_seconds):
                return await future
        finally:
            del self._calls[request_id]

    # --- packets

    @property
    def _is_held(self) -> bool:
        return self._is_checking or self._busy >= _MAX_BUSY or bool(self._waiting)

    def _take(self, packet: Packet) -> None:
        if self.is_admitted:
            self._serve(packet)
        elif isinstance(packet, Connect):
            self._connect(packet)
        else:
            raise MqttError(f"{type(packet).__name__} came first, expected Connect")

    def _begin(self, work: Awaitable[None]) -> None:
        """Do something for the client; it is not read from while too much is under way."""
        self._busy += 1
        if self._is_held:
            self._head.hold(self)
        self._head.spawn(self._counted(work))

    async def _counted(self, work: Awaitable[None]) -> None:
        try:
            await work
        finally:
            self._busy -= 1
            self._go_on()

    def _go_on(self) -> None:
        """Take what waits, as far as there is room."""
        try:
            while self._waiting and self._busy < _MAX_BUSY and not self.is_closed:
                self._take(self._waiting.popleft())
        except SkerryError as error:
            self.close(str(error))
        if not self._is_held:
            self._head.go_on(self)

    def _connect(self, packet: Connect) -> None:
        self.keep_alive_seconds = packet.keep_alive_seconds
        self._reader.max_packet_bytes = _MAX_PACKET_BYTES
        self._service = self._head.backend.service(packet)
        if self._service is not None:
            self._begin_check(self._check_service(self._service, packet))
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
        self._begin_check(self._check(self._claim))

    def _begin_check(self, work: Awaitable[None]) -> None:
        self._is_checking = True
        self._begin(work)

    async def _check(self, claim: Claim) -> None:
        backend = self._head.backend
        try:
            admitted = await backend.connect(claim, keeps_session=self._keeps_session)
        except SkerryError as error:
            later = status_of(error) >= _SERVER_ERROR
            self._refuse(REFUSED_LATER if later else REFUSED, str(error))
            return
        if not self.is_closed:
            self._open(admitted)

    def _open(self, admitted: Admitted) -> None:
        self.expires_at = admitted.expires_at
        self._filters = dict(admitted.filters or {})
        self.is_open = True
        self._head.links.add(self)
        self._admit(ConnAck(0, admitted.filters is not None))
        self.messages_waiting()

    async def _check_service(self, service: Service, packet: Connect) -> None:
        code = await service.connect(packet, self._certificates)
        if code:
            self._refuse(code, "the service does not take the client")
        elif not self.is_closed:
            self._admit(ConnAck())

    def _admit(self, answer: ConnAck) -> None:
        self.is_admitted = True
        self._is_checking = False
        self._send(answer)

    async def _check_again(self) -> None:
        claim = self._claim
        if claim is None or self.is_closed:
            return
        try:
            self.expires_at = await self._head.backend.check(claim)
        except AnswerError as error:
            self.close(str(error))

    def _refuse(self, code: int, reason: str) -> None:
        self._send(ConnAck(code))
        self.close(reason)

    def _serve(self, packet: Packet) -> None:
        match packet:
            case Publish():
                self._published(packet)
            case PubAck(packet_id):
                self._delivery.acknowledged(packet_id)
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
        self._begin(self._remember(SubAck(packet.packet_id, tuple(codes))))

    def _granted(self, text: str, qos: int) -> int:
        others = text.startswith("devices/") and not text.startswith(self._prefix)
        if others or len(text.encode()) > _MAX_FILTER_BYTES:
            return FAILED_SUBSCRIPTION
        return min(qos, 1)

    def _unsubscribe(self, packet: Unsubscribe) -> None:
        for text in packet.filters:
            self._filters.pop(text, None)
        self._begin(self._remember(UnsubAck(packet.packet_id)))

    async def _remember(self, answer: SubAck | UnsubAck) -> None:
        if self._keeps_session and self._service is None:
            try:
                await self._head.backend.remember(self.identity, self._kept_filters)
            except SkerryError as error:
                self.close(f"its subscriptions cannot be kept: {error}")
                return
        self._send(answer)
        self.messages_waiting()

    def _kept_filters(self) -> Mapping[str, int] | None:
        # A newer connection may have begun a clean session.
        return None if self.is_closed else dict(self._filters)

    @property
    def _prefix(self) -> str:
        module_id = self.identity.module_id
        tail = "" if module_id is None else f"modules/{module_id}/"
        return f"devices/{self.identity.device_id}/{tail}"

    def taken_filters(self) -> Mapping[str, int] | None:
        """Return its subscriptions; None when no messages can be delivered by them."""
        is_taker = self.is_open and self._head.backend.takes(self.identity, self._filters)
        return self._filters if is_taker else None

    # --- from the client

    def _published(self, packet: Publish) -> None:
        if packet.qos == 2:
            raise MqttError("QoS 2 is not offered")
        if self._service is not None:
            self._acknowledge(packet)
            self._begin(self._ask(self._service, packet))
            return
        if packet.topic.startswith("devices/"):
            self._telemetry(packet)
            return
        match parse_client_topic(packet.topic):
            case TwinGet(request_id):
                self._acknowledge(packet)
                self._begin(self._twin(request_id))
            case ReportedPatch(request_id):
                self._begin(self._report(request_id, packet))
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
            if len(packet.topic) <= _KNOWN_BAG_BYTES:
                self._bags[packet.topic] = known
        system, properties, bags = known
        if packet.retain:
            properties = {**properties, **_RETAINED}
            bags = bag_bytes(system, properties)
        message = Telemetry(self.identity, system, properties, packet.payload)
        size = len(packet.payload) + bags
        if size > MAX_MESSAGE_BYTES:
            raise HeadError(
                f"the message has {size} bytes with its properties, "
                f"expected at most {MAX_MESSAGE_BYTES}"
            )
        self._head.store(self, packet.packet_id, message, len(packet.topic) + len(packet.payload))

    def _read_topic(self, topic: str) -> tuple[Mapping[str, str], Mapping[str, str], int]:
        found = parse_client_topic(topic)
        own = (self.identity.device_id, self.identity.module_id)
        if not isinstance(found, Events) or (found.device_id, found.module_id) != own:
            raise TopicError(f"topic {topic!r} is not one of {self.identity}")
        system, properties = split_properties(decode_properties(found.bag))
        return system, properties, bag_bytes(system, properties)

    def _acknowledge(self, packet: Publish) -> None:
        if packet.packet_id is not None:
            self._send(PubAck(packet.packet_id))

    async def _twin(self, request_id: str) -> None:
        try:
            document = await self._head.backend.twin(self.identity)
        except SkerryError as error:
            self._respond(status_of(error), request_id, str(error))
        else:
            self._respond(200, request_id, document)

    async def _report(self, request_id: str, packet: Publish) -> None:
        version: int | None = None
        status, body = 204, None
        try:
            patch = json.loads(packet.payload)
            version = await self._head.backend.report(self.identity, patch)
        except (ValueError, RecursionError) as error:
            status, body = 400, f"the patch is not JSON: {error}"
        except SkerryError as error:
            status, body = status_of(error), str(error)
        self._acknowledge(packet)
        self._respond(status, request_id, body, version)

    def _respond(
        self, status: int, request_id: str, body: object, version: int | None = None
    ) -> None:
        qos = self._filters.get(TWIN_RESPONSES)
        if qos is not None and self.is_open:
            if isinstance(body, str):
                body = {"Message": body}
            data = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
            self._delivery.tell(twin_response_topic(status, request_id, version), data, qos)

    async def _ask(self, service: Service, packet: Publish) -> None:
        try:
            answers = await service.publish(packet.topic, packet.payload)
        except TopicError as error:
            self.close(str(error))
            return
        qos = max(self._filters.values(), default=0)
        for topic, payload in answers:
            self._delivery.tell(topic, payload, qos)

    # --- to the client

    def stored(self, packet_ids: Sequence[int]) -> None:
        """Acknowledge messages that are on disk now."""
        if not self.is_closed:
            self.output.extend([b"\x40\x02" + packet_id.to_bytes(2) for packet_id in packet_ids])
            self._head.dirty(self)

    def send(self, packet: Publish) -> None:
        """Write a packet with what else is written in this turn."""
        self._send(packet)

    def _send(self, packet: Packet) -> None:
        self.output.append(encode(packet))
        self._head.dirty(self)
