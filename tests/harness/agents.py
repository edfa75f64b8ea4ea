"""An agent with a fake edged behind a real socket, and time that a test moves."""

import io
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fakes.edged import VERSION, FakeEdged
from skerry.agent.client import EdgedClient
from skerry.agent.loop import Agent
from skerry.agent.readiness import ReadinessWatch
from skerry.agent.rollout import Rollout
from skerry.agent.spec import Surroundings, module_spec
from skerry.agent.store import MemoryStore
from skerry.agent.transaction_store import TransactionStore
from skerry.base.log import get_logger

T = TypeVar("T")
ENVIRONMENT = {
    "EdgeDeviceHostName": "house",
    "IOTEDGE_APIVERSION": VERSION,
    "IOTEDGE_AUTHSCHEME": "sasToken",
    "IOTEDGE_DEVICEID": "house-1",
    "IOTEDGE_IOTHUBHOSTNAME": "hub.example",
    "IOTEDGE_MODULEID": "$edgeAgent",
    "IOTEDGE_WORKLOADURI": "unix:///run/iotedge/workload.sock",
    "NetworkId": "azure-iot-edge",
}


class InlineExecutor(Executor):
    """Runs everything at once: time is virtual, and nothing shall happen beside it."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass
class Site:
    """What a test holds: edged's state, the agent, and what the agent said."""

    edged: FakeEdged
    folder: Path
    said: io.StringIO
    agent: Agent = field(init=False)

    def __post_init__(self) -> None:
        self.start_agent()

    @property
    def socket(self) -> Path:
        return self.folder / "mgmt.sock"

    def start_agent(self, boot: str = "boot-1", **environment: str) -> None:
        """Start an agent, again if there was one, with the memory that it left."""
        log, clock, pool = get_logger("agent"), self.edged.clock, InlineExecutor()
        edged, surroundings = (
            EdgedClient(self.socket, VERSION),
            Surroundings({**ENVIRONMENT, **environment}),
        )
        self.agent = Agent(
            edged=edged,
            surroundings=surroundings,
            store=MemoryStore(self.folder, log),
            rollout=Rollout(
                store=TransactionStore(self.folder, log),
                prepare=lambda module: edged.prepare(module_spec(module, "", surroundings)),
                readiness=ReadinessWatch(edged.logs, pool, clock),
                pool=pool,
                clock=clock,
                log=log,
                context=surroundings.context,
            ),
            clock=clock,
            log=log,
            version="0.1.0",
            boot=boot,
            pool=pool,
        )

    def deploy(self, **modules: dict[str, Any]) -> None:
        """Put a deployment in force."""
        self.edged.deployment = manifest(**modules)

    def run(self, seconds: float) -> None:
        """Let the agent work for some time."""
        end = self.edged.clock.monotonic() + seconds
        while self.edged.clock.monotonic() <= end:
            self.edged.clock.advance(self.agent.round())

    def changes(self) -> list[str]:
        """Return what was asked of edged since the last time."""
        calls = list(self.edged.calls)
        self.edged.calls.clear()
        return calls

    @property
    def report(self) -> dict[str, Any]:
        return self.edged.reports[-1]

    def lines(self) -> list[str]:
        """Return what the agent said, without the time."""
        return [line.partition("] - ")[2] for line in self.said.getvalue().splitlines()]


def manifest(**modules: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest as `skerry config apply` writes it."""
    agent = {"type": "docker", "settings": {"image": "agent:1", "createOptions": "{}"}}
    properties = {
        "schemaVersion": "1.1",
        "trialSeconds": 3,
        "runtime": {"type": "docker", "settings": {}},
        "systemModules": {"edgeAgent": agent},
        "modules": modules,
    }
    return {"modulesContent": {"$edgeAgent": {"properties.desired": properties}}}


def module(image: str = "sensor:1", **fields: Any) -> dict[str, Any]:
    """Return a module of a manifest."""
    return {"type": "docker", "settings": {"image": image, "createOptions": "{}"}, **fields}
