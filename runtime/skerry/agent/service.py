"""The agent as a process: `python3 -m skerry.agent.service`, in the container edgeAgent.

Configured by the environment that edged gives it (IOTEDGE_*). Modules go on without it: it stops
none of them when it ends. Exit status: 0 ended by SIGTERM, 1 the environment cannot be used.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import skerry
from skerry.agent.client import EdgedClient
from skerry.agent.cloud import Cloud
from skerry.agent.errors import AgentError
from skerry.agent.figures import Figures
from skerry.agent.hub import HubLink
from skerry.agent.loop import Agent
from skerry.agent.metered import MeteredEdged
from skerry.agent.news import watch_news
from skerry.agent.readiness import ReadinessWatch
from skerry.agent.rollout import Rollout
from skerry.agent.spec import Surroundings, module_spec
from skerry.agent.store import MemoryStore
from skerry.agent.transaction_store import TransactionStore
from skerry.agent.upstream import hub_link
from skerry.base.clock import SystemClock
from skerry.base.log import get_logger
from skerry.module.lines import log_to
from skerry.module.metrics_server import PORT, serve_metrics

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_DEFAULT_STORAGE = "/var/lib/skerry-agent"
_REQUIRED = ("IOTEDGE_MANAGEMENTURI", "IOTEDGE_WORKLOADURI", "IOTEDGE_APIVERSION")


@dataclass(frozen=True)
class Parts:
    """The agent, and its connection to the hub unless the device is its own."""

    agent: Agent
    link: HubLink | None
    edged: EdgedClient
    figures: Figures


def make_agent(environment: Mapping[str, str], changed: Callable[[], None]) -> Parts:
    """Return an agent with its memory loaded; raises AgentError.

    `changed` is called, on another thread, when there is news from the hub.
    """
    missing = [name for name in _REQUIRED if not environment.get(name)]
    if missing:
        raise AgentError(
            f"environment variable {missing[0]} is not set; edged starts me, people do not"
        )
    uri = urlsplit(environment["IOTEDGE_MANAGEMENTURI"])
    if uri.scheme != "unix":
        raise AgentError(f"IOTEDGE_MANAGEMENTURI is {uri.geturl()!r}, expected unix:///path")
    storage = Path(environment.get("StorageFolder", _DEFAULT_STORAGE))
    if not os.access(storage, os.W_OK):
        raise AgentError(f"storage folder {storage} cannot be written; mount a volume there")
    log, clock, surroundings = get_logger("agent"), SystemClock(), Surroundings(environment)
    figures = Figures(
        environment.get("IOTEDGE_IOTHUBHOSTNAME", ""),
        environment.get("IOTEDGE_DEVICEID", ""),
        skerry.__version__,
    )
    edged = MeteredEdged(Path(uri.path), environment["IOTEDGE_APIVERSION"], figures)
    # of their own each: a long download holds up neither a probe nor a restart
    pulls, probes, steps = (
        ThreadPoolExecutor(at_once, thread_name_prefix=f"agent-{name}")
        for name, at_once in (("pull", 8), ("probe", 8), ("step", 24))
    )
    link = hub_link(
        environment,
        storage,
        edged,
        changed=changed,
        figures=figures,
        clock=clock,
        log=log,
    )
    agent = Agent(
        edged=edged,
        surroundings=surroundings,
        store=MemoryStore(storage, log),
        rollout=Rollout(
            store=TransactionStore(storage, log),
            prepare=lambda module: edged.prepare(module_spec(module, "", surroundings)),
            readiness=ReadinessWatch(edged.logs, probes, clock),
            pool=pulls,
            clock=clock,
            log=log,
            context=surroundings.context,
        ),
        clock=clock,
        log=log,
        version=skerry.__version__,
        boot=_BOOT_ID.read_text("ascii").strip(),
        pool=steps,
        cloud=None if link is None else Cloud(link, storage, log),
        figures=figures,
    )
    return Parts(agent, link, edged, figures)


def _metrics_port(environment: Mapping[str, str]) -> int:
    """Return the port of the metrics; raises AgentError."""
    text = environment.get("MetricsPort", str(PORT))
    if not text.isdecimal():
        raise AgentError(f"MetricsPort is {text!r}, expected a number")
    return int(text)


def main(environment: Mapping[str, str]) -> int:
    """Run until SIGTERM."""
    log_to(sys.stderr, environment.get("RuntimeLogLevel", "Information"))
    log = get_logger("agent")
    stop, news = threading.Event(), threading.Event()

    def end(_number: int, _frame: object) -> None:
        stop.set()
        news.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        parts = make_agent(environment, news.set)
        port = _metrics_port(environment)
    except AgentError as error:
        log.error("cannot start", reason=error)
        return 1
    log.info("agent started", version=skerry.__version__)
    if parts.link is not None:
        parts.link.start()
    watch_news(parts.edged.news, news.set, stop)
    serve_metrics(lambda: parts.figures.text(parts.edged.resources, parts.edged.host), port, log)
    while not stop.is_set():
        news.wait(parts.agent.round())
        news.clear()
    if parts.link is not None:
        parts.link.stop()
    log.info("agent stopped")
    return 0


if __name__ == "__main__":
    status = main(os.environ)
    sys.stderr.flush()
    # not sys.exit: it would wait for downloads under way; all that counts is on disk
    os._exit(status)
