"""What a service loads when it starts: its own domain and nothing that it has no business with."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

MUST_NOT_LOAD: dict[str, tuple[str, ...]] = {
    "skerry.keys.service": ("docker", "requests", "skerry.certs", "skerry.identity"),
    "skerry.certs.service": ("docker", "requests", "skerry.identity", "skerry.keys.store"),
    "skerry.identity.service": ("docker", "requests", "skerry.keys.store", "skerry.certs.store"),
    "skerry.workloads.service": (
        "skerry.keys.store",
        "skerry.certs.store",
        "skerry.identity.store",
    ),
}
NO_SERVICE_LOADS = (
    "asyncio",
    "skerry.agent",
    "skerry.hub",
    "skerry.gateway",
    "skerry.cli",
    "skerry.config",
    "skerry.check",
    "skerry_factory",
    "skerry_lab",
    "ansible",
    "jinja2",
    "pytest",
    "rich",
    "yaml",
)


def loaded_by(module: str) -> set[str]:
    """The modules that `python -m MODULE --help` loads, read from `-X importtime`."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", module, "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize("service", MUST_NOT_LOAD)
def test_a_service_loads_only_its_own(service: str) -> None:
    """A service loads no other domain's internals and none of the factory's packages."""
    assert find_spec(service) is not None, f"{service} does not exist"
    loaded = loaded_by(service)
    forbidden = (*MUST_NOT_LOAD[service], *NO_SERVICE_LOADS)
    assert "skerry.base.service" in loaded
    assert [
        name
        for name in sorted(loaded)
        if any(name == no or name.startswith(f"{no}.") for no in forbidden)
    ] == []
