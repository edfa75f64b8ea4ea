"""The hub's figures: upstream's names and labels, and what they count, seen from outside."""

import http.client
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.edge_hub import DEVICE, HUB, ROUTES, EdgeHub, desired, populate
from harness.edged import until
from skerry.heads.links import Links
from skerry.hub.figures import Figures
from skerry.hub.store.model import Entry, Message, Position
from skerry.hub.store.requests import ask
from skerry.wire.identity import Identity
from skerry.wire.topics import TWIN_RESPONSES, events_topic, reported_topic, twin_get_topic
from skerry_lab.server import Lab

A, B, LEAF = Identity(DEVICE, "a"), Identity(DEVICE, "b"), Identity("leaf")

LABELS = {
    "edgehub_gettwin_total": ("counter", "source", "id"),
    "edgehub_messages_received_total": ("counter", "route_output", "id"),
    "edgehub_messages_sent_total": (
        "counter", "from", "to", "from_route_output", "to_route_input", "priority",
    ),
    "edgehub_reported_properties_total": ("counter", "target", "id"),
    "edgehub_message_size_bytes": ("summary", "id"),
    "edgehub_gettwin_duration_seconds": ("summary", "source", "id"),
    "edgehub_message_send_duration_seconds": (
        "summary", "from", "to", "from_route_output", "to_route_input",
    ),
    "edgehub_message_process_duration_seconds": ("summary", "from", "to", "priority"),
    "edgehub_reported_properties_update_duration_seconds": ("summary", "target", "id"),
    "edgehub_direct_method_duration_seconds": ("summary", "from", "to"),
    "edgehub_direct_methods_total": ("counter", "from", "to"),
    "edgehub_queue_length": ("gauge", "endpoint", "priority"),
    "edgehub_messages_dropped_total": ("counter", "reason", "from", "from_route_output"),
    "edgehub_messages_unack_total": ("counter", "reason", "from", "from_route_output"),
    "edgehub_offline_count_total": ("counter", "id"),
    "edgehub_offline_duration_seconds": ("summary", "id"),
    "edgehub_operation_retry_total": ("counter", "id", "operation"),
    "edgehub_client_connect_failed_total": ("counter", "id", "reason"),
    "edgehub_client_connect_success_total": ("counter", "id"),
    "edgehub_client_disconnect_total": ("counter", "id"),
    "edgehub_connected_clients": ("gauge",),
    "skerry_upstream_bytes_total": ("counter", "direction", "cause"),
}  # fmt: skip
"""azure-iot-edge.md §6.11, and ours."""

COMMON = ("iothub", "edge_device", "instance_number")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A cloud with an edge device, its modules and a leaf."""
    with Lab(tmp_path / "lab") as running:
        populate(running)
        yield running


@pytest.fixture
def hub(tmp_path: Path, lab: Lab) -> Iterator[EdgeHub]:
    """A hub that has its scope and settings."""
    with EdgeHub(tmp_path / "hub", lab) as running:
        running.until_ready()
        yield running


def scraped(hub: EdgeHub) -> str:
    """Ask for /metrics over HTTPS, as a stranger."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        "127.0.0.1", hub.hub.server.https_port, timeout=10, context=context
    )
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = answer.read().decode()
    connection.close()
    return text


def values(text: str) -> dict[str, float]:
    """Return the value of each series without the common labels."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            own = re.sub(r'(iothub|edge_device|instance_number)="[^"]*",?', "", series)
            found[own.replace(",}", "}").replace("{}", "")] = float(value)
    return found


def until_told(hub: EdgeHub, name: str, wanted: float) -> None:
    """Wait for the value of a series."""
    until(lambda: values(hub.hub.figures.text()).get(name) == wanted, name)


def test_every_figure_has_upstreams_name_and_labels(hub: EdgeHub) -> None:
    """And those that all have; over HTTPS, to whoever asks."""
    figures = hub.hub.figures
    figures.lost(HUB, True)
    figures.reached(HUB)
    figures.refused(A, "unavailable")
    stored = Message("1", str(A), {"output-name": "out"}, {}, b"x", 0.0)
    figures.came(stored.source, stored.system, 1)
    figures.unrouted(stored.source, stored.system)
    figures.unstored(stored)
    figures.sent(Entry(Position(1), stored, None), "upstream", 0, 1.0).sending.observe(0.1)
    with figures.call("upstream", A), figures.report("upstream", A), figures.twin("upstream", A):
        pass
    with hub.device(A) as client:
        assert client.connect().code == 0
    until(lambda: "edgehub_client_disconnect_total{" in figures.text(), "it has gone")
    text = scraped(hub)
    assert dict(re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE)) == {
        name: kind for name, (kind, *_) in LABELS.items()
    }
    for name, (_, *labels) in LABELS.items():
        series = re.findall(rf"^{name}(?:_count)?{{(.*)}} ", text, re.MULTILINE)
        if name != "edgehub_queue_length":
            assert series, name
        for one in series:
            names = [each for each in re.findall(r'(\w+)="', one) if each != "quantile"]
            assert names == [*COMMON, *labels], name


def test_messages_are_counted_where_they_go(hub: EdgeHub) -> None:
    """Received once, sent once for each endpoint; until then they wait there."""
    output = events_topic(DEVICE, "a", {"$.on": "out"})
    with hub.device(A) as sender, hub.device(B, clean_session=False) as receiver:
        for client in (sender, receiver):
            assert client.connect().code == 0
        for _ in range(3):
            sender.publish(output, b"12345")
        assert values(scraped(hub))["edgehub_connected_clients"] == 2
        waiting = 'edgehub_queue_length{endpoint="edge/b/in1",priority="2000000000"}'
        until_told(hub, waiting, 3)
        receiver.subscribe(f"devices/{DEVICE}/modules/b/#")
        for _ in range(3):
            receiver.message()
        route = 'from="edge/a",to="edge/b",from_route_output="out",to_route_input="in1"'
        up = 'from="edge/a",to="upstream",from_route_output="out",to_route_input=""'
        for one in (route, up):
            until_told(hub, f"edgehub_message_send_duration_seconds_count{{{one}}}", 3)
        until_told(hub, waiting, 0)
    found = values(hub.hub.figures.text())
    expected = {
        'edgehub_messages_received_total{route_output="out",id="edge/a"}': 3,
        'edgehub_message_size_bytes_count{id="edge/a"}': 3,
        f'edgehub_messages_sent_total{{{route},priority="2000000000"}}': 3,
        f'edgehub_messages_sent_total{{{up},priority="2000000000"}}': 3,
        'edgehub_message_process_duration_seconds_count{from="edge/a",to="edge/b",'
        'priority="2000000000"}': 3,
        'edgehub_queue_length{endpoint="iothub",priority="2000000000"}': 0,
        'edgehub_client_connect_success_total{id="edge/a"}': 1,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_bytes_to_the_cloud_are_told_by_cause(hub: EdgeHub) -> None:
    """Messages, twins, and what keeps the connections up; MQTT's bytes, before TLS."""
    with hub.device(A) as sender:
        assert sender.connect().code == 0
        sender.publish(events_topic(DEVICE, "a", {"$.on": "out"}), bytes(10_000))
        name = 'edgehub_messages_sent_total{from="edge/a",to="upstream",from_route_output="out",'
        until_told(hub, name + 'to_route_input="",priority="2000000000"}', 1)
    found = values(hub.hub.figures.text())
    sent = 'skerry_upstream_bytes_total{direction="sent",cause='
    assert 10_000 < found[sent + '"messages"}'] < 10_200
    assert 0 < found[sent + '"twins"}'] < 10_000
    assert 100 < found[sent + '"connection"}'] < 10_000
    assert found['skerry_upstream_bytes_total{direction="received",cause="twins"}'] > 0


def test_what_was_dropped_is_told_with_its_reason(hub: EdgeHub) -> None:
    """With its sender where that is known: for what no route takes."""

    async def change() -> None:
        hub.hub.use(desired({"in": ROUTES["in"]}))

    hub.ask(change())
    with hub.device(LEAF) as leaf, hub.device(A) as sender:
        for client in (leaf, sender):
            assert client.connect().code == 0
        leaf.publish(events_topic("leaf", None, {}), b"x")
        sender.publish(events_topic(DEVICE, "a", {"$.on": "out"}), b"x")
    answer = ask(hub.folder / "store", {"action": "purge", "endpoint": "edge/b/in1"}, 10)
    assert answer == {"purged": 1}
    dropped = "edgehub_messages_dropped_total"
    until_told(hub, f'{dropped}{{reason="no_route",from="leaf",from_route_output=""}}', 1)
    until_told(hub, f'{dropped}{{reason="purged",from="",from_route_output=""}}', 1)


def test_who_is_not_taken_is_told_with_the_reason(hub: EdgeHub) -> None:
    """A stranger, by the name that it gives."""
    with hub.device(Identity("stranger")) as client:
        assert client.connect().code == 5
    name = 'edgehub_client_connect_failed_total{id="stranger",reason="not_authenticated"}'
    until_told(hub, name, 1)


def test_twins_and_patches_are_counted_here_and_upstream(hub: EdgeHub) -> None:
    """What the client asked the hub, and the hub the cloud."""
    with hub.device(A) as client:
        assert client.connect().code == 0
        client.subscribe(TWIN_RESPONSES)
        client.publish(twin_get_topic("1"), b"", qos=0)
        client.message()
        client.publish(reported_topic("2"), b'{"x":1}', qos=0)
        client.message()
        for where in ("edge_hub", "upstream"):
            labels = f'="{where}",id="edge/a"}}'
            until_told(hub, "edgehub_reported_properties_total{target" + labels, 1)
            assert values(hub.hub.figures.text())["edgehub_gettwin_total{source" + labels] >= 1


def test_a_lost_cloud_is_counted_and_timed() -> None:
    """From the end of a connection to the next one; each further attempt is a retry."""
    links = Links()
    now = [0.0]
    figures = Figures("hub", "edge", links, list, list, lambda: now[0])
    figures.reached(HUB)
    figures.lost(HUB, True)
    now[0] = 5.0
    figures.lost(HUB, False)
    now[0] = 12.0
    figures.reached(HUB)
    found = values(figures.text())
    labels = '{id="edge/$edgeHub"}'
    assert found[f"edgehub_offline_count_total{labels}"] == 1
    assert found[f"edgehub_offline_duration_seconds_sum{labels}"] == 12
    assert found['edgehub_operation_retry_total{id="edge/$edgeHub",operation="connect"}'] == 2
