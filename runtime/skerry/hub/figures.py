"""Which figures the hub has, under upstream's names but for one, and what they are taken from.

Invariants
- Counting a message costs a look-up and an addition; everything else is done when somebody asks.
- What the store itself drops is told without its sender, which a queue's counters do not know.

Labels `to` and `source`, `target` are upstream's: `upstream` is the cloud or the parent, `edge_hub`
this hub. Source: azure-iot-edge.md §6.11. Counting lives on the loop; `text` may be called by
any thread.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from skerry.heads.links import Links
from skerry.hub.store.model import UPSTREAM, Dropped, Entry, Message, QueueState, aside_source
from skerry.hub.store.totals import DROPPED
from skerry.hub.store.view import Total
from skerry.module.metrics import MOST_SERIES, Metric, Registry, Series
from skerry.wire.identity import Identity

_PREFIX = "edgehub_"
CLOUD, HUB = "upstream", "edge_hub"
_ENDPOINT = "iothub"  # upstream's name of its queue for the cloud
_OUTPUT = "output-name"
_CAUSES = ("messages", "twins", "methods")


class Way:
    """The figures of messages of one sender and output to one endpoint and priority."""

    __slots__ = ("processed", "sending", "sent")

    def __init__(self, sent: Series, sending: Series, processed: Series) -> None:
        self.sent = sent
        self.sending = sending
        self.processed = processed


class Figures:
    """The figures of one hub."""

    def __init__(
        self,
        hub: str,
        device: str,
        links: Links,
        queues: Callable[[], Sequence[QueueState]],
        totals: Callable[[], Sequence[Total]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`queues` and `totals` are the store's, asked when somebody wants to see the figures."""
        common = {"iothub": hub, "edge_device": device, "instance_number": str(uuid.uuid4())}
        self.monotonic = monotonic
        self._links, self._queues, self._totals = links, queues, totals
        self._registry = Registry(common, monotonic)
        self._came: dict[tuple[str, str | None], tuple[Series, Series]] = {}
        self._ways: dict[tuple[str, str | None, str, int], Way] = {}
        self._lost_at: dict[Identity, float] = {}
        self._moved: dict[tuple[str, str], int] = {}
        self._asking = threading.Lock()
        self._before = _dropped(totals())
        self._make()
        links.on_added = self._connected
        links.on_removed = self._disconnected

    def _make(self) -> None:
        counter, gauge, summary = (
            self._named(make)
            for make in (self._registry.counter, self._registry.gauge, self._registry.summary)
        )
        self._received = counter("messages_received_total", "Messages that clients sent")
        self._size = summary("message_size_bytes", "Size of a message with its properties")
        self._sent = counter("messages_sent_total", "Messages sent on")
        self._sending = summary("message_send_duration_seconds", "From sending to receipt")
        self._processed = summary("message_process_duration_seconds", "From arrival to sending")
        self._dropped = counter("messages_dropped_total", "Messages that went nowhere")
        self._unacknowledged = counter("messages_unack_total", "Messages that were not stored")
        self._length = gauge("queue_length", "Messages that wait for an endpoint")
        self._twins = counter("gettwin_total", "Twins asked for")
        self._twin_time = summary("gettwin_duration_seconds", "Until a twin was there")
        self._reports = counter("reported_properties_total", "Patches of reported properties")
        self._report_time = summary(
            "reported_properties_update_duration_seconds", "Until a patch was taken"
        )
        self._methods = counter("direct_methods_total", "Direct methods called")
        self._method_time = summary("direct_method_duration_seconds", "Until a method answered")
        self._offline = counter("offline_count_total", "Ends of a connection to the cloud")
        self._offline_time = summary("offline_duration_seconds", "Until the cloud was back")
        self._retries = counter("operation_retry_total", "Operations tried again")
        self._refused = counter("client_connect_failed_total", "Clients that were not taken")
        self._taken = counter("client_connect_success_total", "Clients that were taken")
        self._gone = counter("client_disconnect_total", "Connections of clients that ended")
        self._clients = gauge("connected_clients", "Clients that are connected")
        self._bytes = self._registry.counter(
            "skerry_upstream_bytes_total", "MQTT's bytes to and from the cloud or the parent"
        )

    @staticmethod
    def _named(make: Callable[[str, str], Metric]) -> Callable[[str, str], Metric]:
        return lambda name, text: make(_PREFIX + name, text)

    # --- messages

    def came(self, source: str, system: Mapping[str, str], size_bytes: int) -> None:
        """Count a message of a client."""
        key = source, system.get(_OUTPUT)
        received, size = self._came.get(key) or self._meet(key)
        received.value += 1
        size.observe(size_bytes)

    def unrouted(self, source: str, system: Mapping[str, str]) -> None:
        """No route takes a message."""
        self._dropped.add(1, reason=Dropped.NO_ROUTE.value, **_sender(source, system))

    def unstored(self, message: Message) -> None:
        """The store does not take a message, so that it is not acknowledged."""
        labels = _sender(message.source, message.system)
        self._unacknowledged.add(1, reason="storage_failure", **labels)

    def sent(self, entry: Entry, endpoint: str, priority: int, now: float) -> Way:
        """Count a message that is sent on; `now` is wall time."""
        message = entry.message
        key = message.source, message.system.get(_OUTPUT), endpoint, priority
        way = self._ways.get(key) or self._find_way(key)
        way.sent.value += 1
        way.processed.observe(max(now - message.received_at, 0.0))
        return way

    def _meet(self, key: tuple[str, str | None]) -> tuple[Series, Series]:
        if len(self._came) >= MOST_SERIES:
            self._came.clear()
        source, output = key
        received = self._received.of(route_output=output or "", id=source)
        found = received, self._size.of(id=source)
        self._came[key] = found
        return found

    def _find_way(self, key: tuple[str, str | None, str, int]) -> Way:
        if len(self._ways) >= MOST_SERIES:
            self._ways.clear()
        source, output, endpoint, priority = key
        to, _, route_input = endpoint.rpartition("/")
        pair = {"from": source, "to": to or CLOUD}
        routes = {
            "from_route_output": output or "", "to_route_input": route_input if to else "",
        }  # fmt: skip
        way = self._ways[key] = Way(
            self._sent.of(**pair, **routes, priority=str(priority)),
            self._sending.of(**pair, **routes),
            self._processed.of(**pair, priority=str(priority)),
        )
        return way

    # --- clients

    def refused(self, identity: Identity, reason: str) -> None:
        """A client was not taken."""
        self._refused.add(1, id=str(identity), reason=reason)

    @contextmanager
    def twin(self, source: str, identity: Identity) -> Iterator[None]:
        """Measure a look at a twin; `source` is who gives it."""
        labels = {"source": source, "id": str(identity)}
        self._twins.add(1, **labels)
        with self._timed(self._twin_time, labels):
            yield

    @contextmanager
    def report(self, target: str, identity: Identity) -> Iterator[None]:
        """Measure a change of reported properties; `target` is who takes it."""
        labels = {"target": target, "id": str(identity)}
        self._reports.add(1, **labels)
        with self._timed(self._report_time, labels):
            yield

    @contextmanager
    def call(self, caller: str, target: Identity) -> Iterator[None]:
        """Measure a direct method."""
        labels = {"from": caller, "to": str(target)}
        self._methods.add(1, **labels)
        with self._timed(self._method_time, labels):
            yield

    # --- the cloud

    def reached(self, identity: Identity) -> None:
        """The connection of a client to the cloud stands."""
        since = self._lost_at.pop(identity, None)
        if since is not None:
            self._offline_time.observe(self.monotonic() - since, id=str(identity))

    def lost(self, identity: Identity, was_connected: bool) -> None:
        """It has ended, or an attempt has failed; another one follows."""
        if was_connected:
            self._offline.add(1, id=str(identity))
            self._lost_at[identity] = self.monotonic()
        self._retries.add(1, id=str(identity), operation="connect")

    def moved(self, direction: str, cause: str, size_bytes: int) -> None:
        """Bytes were `sent` or `received`, of `messages`, `twins`, `methods`, or `all` of them."""
        key = direction, cause
        self._moved[key] = self._moved.get(key, 0) + size_bytes

    # --- asked for

    def text(self) -> str:
        """Return all figures; reads the store."""
        with self._asking:  # on 9600 and over HTTPS at once
            self._clients.set(len(self._links))
            self._tell_queues()
            self._tell_bytes()
            return self._registry.text()

    def _tell_queues(self) -> None:
        self._length.clear()
        lengths: dict[tuple[str, int], int] = {}
        for state in self._queues():
            is_cloud = state.endpoint == UPSTREAM or aside_source(state.endpoint) is not None
            key = _ENDPOINT if is_cloud else state.endpoint, state.priority
            lengths[key] = lengths.get(key, 0) + state.length
        for (endpoint, priority), length in lengths.items():
            self._length.set(length, endpoint=endpoint, priority=str(priority))
        for reason, count in _dropped(self._totals()).items():
            labels = _sender("", {})
            self._dropped.set(count - self._before.get(reason, 0), reason=reason, **labels)

    def _tell_bytes(self) -> None:
        """What is of nothing in particular is the connection's: its start, pings, receipts."""
        for direction in ("sent", "received"):
            known = {each: self._moved.get((direction, each), 0) for each in _CAUSES}
            rest = self._moved.get((direction, "all"), 0) - sum(known.values())
            for cause, size in {**known, "connection": max(rest, 0)}.items():
                self._bytes.set(size, direction=direction, cause=cause)

    def _connected(self, identity: Identity) -> None:
        self._taken.add(1, id=str(identity))

    def _disconnected(self, identity: Identity) -> None:
        self._gone.add(1, id=str(identity))

    @contextmanager
    def _timed(self, summary: Metric, labels: Mapping[str, str]) -> Iterator[None]:
        began = self.monotonic()
        yield
        summary.observe(self.monotonic() - began, **labels)


def _sender(source: str, system: Mapping[str, str]) -> dict[str, str]:
    return {"from": source, "from_route_output": system.get(_OUTPUT, "")}


def _dropped(totals: Iterable[Total]) -> dict[str, int]:
    """Return what queues have dropped, by reason."""
    found: dict[str, int] = {}
    for total in totals:
        if total.outcome == DROPPED and total.endpoint:
            found[total.reason] = found.get(total.reason, 0) + total.count
    return found
