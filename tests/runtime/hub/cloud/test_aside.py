"""Messages of a client that the cloud refuses: out of the others' way, and sent in the end."""

from dataclasses import replace
from pathlib import Path

from harness.edge_hub import DEVICE, EdgeHub, populate
from harness.edged import until
from harness.stores import a_message, bodies, finish, length, opened, put, take
from skerry.hub.scope import Scope
from skerry.hub.store.model import Target, aside, aside_source
from skerry.wire.identity import Identity
from skerry.wire.topics import events_topic
from skerry_lab.registry.model import Status
from skerry_lab.server import Lab

A, LEAF = Identity(DEVICE, "a"), Identity("leaf")
MORE_THAN_ARE_HELD = 205
ASIDE = aside("leaf")


class EdgeHubOfOld(EdgeHub):
    """A hub that hears of its scope once: who is disabled later is still one of its clients."""

    first: Scope | None = None

    async def _scope(self) -> Scope:
        self.first = self.first or await super()._scope()
        return self.first


def arrived(lab: Lab, identity: Identity) -> list[str]:
    events = lab.store.do(lambda cloud: list(cloud.messages.read(0, 10_000, 10_000_000)))
    return [e.telemetry.body.decode() for e in events if e.telemetry.identity == identity]


def switch(lab: Lab, status: Status) -> None:
    lab.registry.update_device(replace(lab.registry.device("leaf"), status=status))


def test_a_client_that_the_cloud_refuses_holds_up_nobody(tmp_path: Path) -> None:
    """Its messages are kept over a restart, and go in order once it is taken again."""
    with Lab(tmp_path / "lab") as lab:
        populate(lab)
        with EdgeHubOfOld(tmp_path / "hub", lab) as hub:
            hub.until_ready()
            switch(lab, Status.DISABLED)
            with hub.device(LEAF) as leaf, hub.device(A) as module:
                assert leaf.connect().code == 0
                assert module.connect().code == 0
                until(lambda: hub.cloud.refuses(LEAF), "the cloud refuses the leaf")
                for n in range(MORE_THAN_ARE_HELD):
                    leaf.publish(events_topic("leaf"), str(n).encode())
                module.publish(events_topic(DEVICE, "a"), b"of the module")
                until(lambda: arrived(lab, A), "the module's message has arrived")
            assert arrived(lab, LEAF) == []
            switch(lab, Status.ENABLED)
            hub.stop()
            hub.start()
            numbers = [str(n) for n in range(MORE_THAN_ARE_HELD)]
            until(lambda: len(arrived(lab, LEAF)) >= len(numbers), "the leaf's have arrived")
            assert list(dict.fromkeys(arrived(lab, LEAF))) == numbers


def test_names_of_endpoints() -> None:
    """Only those that are for what is set aside say whose it is."""
    assert aside_source(ASIDE) == "leaf"
    assert aside_source("upstream") is None
    assert aside_source("upstream/for leaf/in") is None


def test_what_is_moved_keeps_priority_and_is_traced(tmp_path: Path) -> None:
    """Shared bodies too; what was not handed out stays."""
    both = [Target("upstream", 3), Target("edge/b/in", 1)]
    with opened(tmp_path) as store:
        message = a_message(store, b"first")
        assert store.put([(message, both)]).result(10) == [None]
        assert put(store, b"second") == [None]
        (entry,) = take(store, limit=1)
        store.move("upstream", [entry.position], ASIDE).result(10)
        assert [q.priority for q in store.queues() if q.endpoint == ASIDE] == [3]
        assert (length(store), length(store, ASIDE), length(store, "edge/b/in")) == (1, 1, 1)
        held = store.health().bytes
    with opened(tmp_path) as store:
        assert store.health().bytes == held
        moved = take(store, ASIDE)
        assert bodies(moved) == [b"first"]
        assert moved[0].message == message
        finish(store, moved, ASIDE)
        finish(store, take(store, "edge/b/in"), "edge/b/in")
        finish(store, take(store))
        assert store.health().bytes == 0
        trace = store.trace(message.id)
        assert trace is not None
        told = [(event.kind, event.endpoint) for event in trace.events if event.endpoint]
        assert told == [
            ("stored", "upstream"),
            ("stored", "edge/b/in"),
            ("moved", "upstream"),
            ("stored", ASIDE),
            ("delivered", ASIDE),
            ("delivered", "edge/b/in"),
        ]
