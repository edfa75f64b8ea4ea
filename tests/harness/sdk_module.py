"""The module `sensor` of an edge device: the stock SDK on this machine's Python sends numbers."""

import json
from pathlib import Path
from typing import Any

from harness import sdk
from harness.engine import IMAGE, Moby

SCRIPTS = Path(__file__).parents[1] / "lab/sdk"


def module_toml() -> str:
    """Return its tables of config.toml."""
    python = sdk.python()
    binds = [
        "/usr:/usr:ro",
        f"{python.parents[1]}:{python.parents[1]}:ro",
        f"{SCRIPTS}:/scripts:ro",
    ]
    return f"""
[modules.sensor]
image = "{IMAGE}"
imagePullPolicy = "never"
[modules.sensor.createOptions]
Cmd = ["{python}", "-W", "ignore", "/scripts/edge_module.py"]
StopSignal = "SIGKILL"
[modules.sensor.createOptions.HostConfig]
Binds = {json.dumps(binds)}
"""


def said(engine: Moby) -> list[Any]:
    """Return what it said."""
    text = engine.api.logs("sensor", stdout=True, stderr=False).decode()
    return [json.loads(line) for line in text.splitlines()]


def acknowledged(engine: Moby) -> list[int]:
    """Return the numbers that it need not send again."""
    return [one for one in said(engine) if isinstance(one, int)]
