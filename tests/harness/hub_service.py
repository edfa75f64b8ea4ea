"""The edge hub as edged starts it: a process, its environment, and what it says."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fakes.workload import VERSION
from skerry_lab.server import Lab


def free_port() -> int:
    """Return a port that IPv4 and IPv6 both have free."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as found:
        return int(found.getsockname()[1])


def environment(folder: Path, lab: Lab | None = None, **more: str) -> dict[str, str]:
    """Return what edged puts into the container."""
    return {
        "IOTEDGE_WORKLOADURI": f"unix://{folder / 'w.sock'}",
        "IOTEDGE_APIVERSION": VERSION,
        "IOTEDGE_DEVICEID": "edge",
        "IOTEDGE_MODULEID": "$edgeHub",
        "IOTEDGE_MODULEGENERATIONID": "7",
        "IOTEDGE_IOTHUBHOSTNAME": lab.hub_name if lab else "hub.example",
        "EdgeDeviceHostName": "localhost",
        "StorageFolder": str(folder),
        "UpstreamPort": str(lab.mqtt_port) if lab else "1",
        "mqttSettings__port": str(free_port()),
        "httpSettings__port": str(free_port()),
        **more,
    }


@contextmanager
def running(variables: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Run the service; what it says comes on its standard error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "skerry.hub.service"],
        env={**os.environ, **variables},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: "subprocess.Popen[str]", text: str) -> str:
    """Return the first line that holds a text."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        if text in line:
            return line
        seen.append(line)
    raise AssertionError(f"the hub ended without {text!r}: {seen}")
