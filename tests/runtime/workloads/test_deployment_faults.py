"""Deployments that fail, with edged and a real Moby: wholly the old set, or wholly the new one."""

import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from harness.agents import ENVIRONMENT, InlineExecutor, manifest
from harness.edged import House, until
from harness.engine import IMAGE, SLEEPING_AGENT, Moby, borrowed
from harness.tiers import Counts
from skerry.agent.client import EdgedClient
from skerry.agent.loop import Agent
from skerry.agent.readiness import ReadinessWatch
from skerry.agent.rollout import Rollout
from skerry.agent.spec import Surroundings, module_spec
from skerry.agent.store import MemoryStore
from skerry.agent.transaction_store import TransactionStore
from skerry.base.clock import SystemClock
from skerry.base.log import get_logger

pytestmark = pytest.mark.faults

VERSION = "2022-08-03"
NAMES = ("first", "second")
_MOST_SECONDS = 3600
TAKEN_PORT = 48321
"""Nothing that this machine gives out by itself; the test listens on it."""


def module(generation: str, *command: str, **fields: Any) -> dict[str, Any]:
    """Return a module that sleeps unless it is told to do something else."""
    options = {**borrowed(*(command or ("/bin/sleep", "3600"))), "StopSignal": "SIGKILL"}
    return {
        "type": "docker",
        "imagePullPolicy": "never",
        "restartPolicy": "never",
        "settings": {"image": IMAGE, "createOptions": options},
        "env": {"GENERATION": {"value": generation}},
        **fields,
    }


def another_image(generation: str, image: str) -> dict[str, Any]:
    made = module(generation)
    return made | {"settings": {**made["settings"], "image": image}}


def never_ready(generation: str) -> dict[str, Any]:
    ready = {"type": "log", "pattern": "never", "timeoutSeconds": 1}
    return module(generation, readiness=ready)


def unmountable(generation: str) -> dict[str, Any]:
    made = module(generation)
    mount = {"Type": "bind", "Source": "/nonexistent", "Target": "/x"}
    options = made["settings"]["createOptions"]
    host = {**options["HostConfig"], "Mounts": [mount]}
    return made | {"settings": {"image": IMAGE, "createOptions": {**options, "HostConfig": host}}}


def port_taken(generation: str) -> dict[str, Any]:
    made = module(generation)
    options = made["settings"]["createOptions"]
    ports = {"9/tcp": [{"HostPort": str(TAKEN_PORT)}]}
    host = {**options["HostConfig"], "PortBindings": ports}
    options = {**options, "ExposedPorts": {"9/tcp": {}}, "HostConfig": host}
    return made | {"settings": {"image": IMAGE, "createOptions": options}}


FAULTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "bad image": lambda n: another_image(n, "localhost/test/none:1"),
    "wrong digest": lambda n: another_image(n, f"localhost/test/machine@sha256:{'0' * 64}"),
    "crash": lambda n: module(n, "/bin/false"),
    "never ready": never_ready,
    "cannot be made": unmountable,
    "port taken": port_taken,
    "schema": lambda n: module(n, restartPolicy="maybe"),
}


class Device:
    """edged in a thread, and an agent that a test kills by forgetting it."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house = house
        self.folder = folder
        self.document: object = None
        self.start()

    def start(self) -> None:
        """Start an agent with what the former one left on disk."""
        log, clock, pool = get_logger("agent"), SystemClock(), InlineExecutor()
        edged = EdgedClient(self.house.folder / "mgmt.sock", VERSION)
        surroundings = Surroundings(ENVIRONMENT)
        self.rollout = Rollout(
            store=TransactionStore(self.folder, log),
            prepare=lambda wanted: edged.prepare(module_spec(wanted, "", surroundings)),
            readiness=ReadinessWatch(edged.logs, pool, clock),
            pool=pool,
            clock=clock,
            log=log,
            context=surroundings.context,
        )
        store = MemoryStore(self.folder, log)
        self.agent = Agent(edged, surroundings, store, self.rollout, clock, log, "0", "boot", pool)

    def deploy(self, **modules: dict[str, Any]) -> None:
        document = manifest(**modules)
        document["modulesContent"]["$edgeAgent"]["properties.desired"]["trialSeconds"] = 1
        self.house.client().put("/deployment", document)

    def rounds(self, is_over: Callable[[], bool], what: str) -> None:
        """Let the agent work until something is so."""
        deadline = time.monotonic() + 60
        while not is_over():
            assert time.monotonic() < deadline, f"not within 60 s: {what}; {self.rollout.state}"
            time.sleep(min(self.agent.round(), 0.2))

    def generations(self, moby: Moby) -> dict[str, str]:
        """Return the generation of every module that runs."""
        found = {}
        for name in NAMES:
            try:
                seen = moby.api.inspect_container(name)
            except docker.errors.NotFound:
                continue  # between the old one and the new one
            env = dict(entry.split("=", 1) for entry in seen["Config"]["Env"])
            if seen["State"]["Running"]:
                found[name] = env["GENERATION"]
        return found


@pytest.fixture
def device(real_engine: Moby, tmp_path: Path) -> Iterator[Device]:
    house = House(tmp_path / "house", real_engine.uri)
    house.configure(SLEEPING_AGENT)
    house.host_security()
    house.host()
    try:
        until(lambda: house.modules().get("edgeAgent") == "running", "the agent runs")
        house.caller = real_engine.api.inspect_container("edgeAgent")["Id"]
        (tmp_path / "agent").mkdir()
        yield Device(house, tmp_path / "agent")
    finally:
        house.stop()
        real_engine.remove_containers()


@pytest.fixture
def taken_port() -> Iterator[None]:
    """Have a port that somebody else listens on."""
    with socket.create_server(("0.0.0.0", TAKEN_PORT)):  # noqa: S104 - as the engine asks for it
        yield


@pytest.mark.timeout(_MOST_SECONDS)
def test_a_deployment_that_fails_leaves_the_whole_old_set(
    device: Device, real_engine: Moby, counts: Counts, taken_port: None
) -> None:
    """Whatever the fault, in whichever module, and wherever the agent is killed."""
    chance = random.Random(5)  # noqa: S311 - repeatable on purpose
    device.deploy(**{name: module("old") for name in NAMES})
    old = dict.fromkeys(NAMES, "old")
    device.rounds(lambda: device.rollout.state.good is not None, "the first set")
    assert device.generations(real_engine) == old
    faults = list(FAULTS)
    for number in range(counts.of("deployment faults", reduced=7, full=100)):
        fault = faults[number % len(faults)]
        generation = str(number)
        wrong = chance.choice(NAMES)
        made = {name: module(generation) for name in NAMES}
        device.deploy(**{**made, wrong: FAULTS[fault](generation)})
        for _ in range(chance.randrange(6)):
            device.agent.round()
        device.start()
        device.agent.round()

        def is_over() -> bool:
            state = device.rollout.state
            ended = len(state.bad) > 0 and state.phase.value == "idle"
            return bool(device.rollout.problem) or (ended and device.rollout.verdict()[0] != 200)

        device.rounds(is_over, fault)
        device.rounds(lambda: device.generations(real_engine) == old, f"back after {fault}")
    device.deploy(**{name: module("new") for name in NAMES})
    device.rounds(
        lambda: device.generations(real_engine) == dict.fromkeys(NAMES, "new"), "a good one"
    )
