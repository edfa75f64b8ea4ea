"""Runs on an appliance, as root, sent over SSH: what the device is and does, as one JSON object.

{"provisioning": {…}, "identity": {…}, "edge_ca": {"pem": "…"}, "modules": {"modules": […]},
 "logs": "…", "pss_kib": {"<service>": n}, "errors": {"<part>": "…"}}

A part that cannot be had is null, and `errors` says why. Nothing here changes the device.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from skerry.base.client import ServiceClient

RUN = Path("/run/skerry")
NATIVE = ("keys", "certs", "tpm", "identity", "workloads")


def logs(module: str) -> str:
    done = subprocess.run(
        ["skerry", "logs", module], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def pss_kib() -> dict[str, int]:
    """Proportional memory of each native service that runs now, by its domain."""
    found: dict[str, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
            rollup = (process / "smaps_rollup").read_text()
        except OSError:
            continue  # it ended meanwhile, or is a thread of the kernel
        for domain in NATIVE:
            if f"skerry.{domain}.service" in words:
                pss = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
                found[domain] = found.get(domain, 0) + int(pss.split()[1])
    return found


def main(module: str) -> None:
    identityd = ServiceClient(RUN / "identityd.sock", "2022-08-01")
    certd = ServiceClient(RUN / "certd.sock", "2020-09-01")
    edged = ServiceClient(RUN / "mgmt.sock", "2022-08-03")
    parts: dict[str, Callable[[], object]] = {
        "provisioning": lambda: identityd.get("/identities/provisioning"),
        "identity": lambda: identityd.post("/identities/device", {"type": "aziot"}),
        "edge_ca": lambda: certd.get("/certificates/aziot-edged-ca"),
        "modules": lambda: edged.get("/modules"),
        "logs": lambda: logs(module),
        "pss_kib": pss_kib,
    }
    told: dict[str, object] = {}
    errors: dict[str, str] = {}
    for name, ask in parts.items():
        try:
            told[name] = ask()
        except Exception as error:  # each part stands alone
            told[name], errors[name] = None, f"{type(error).__name__}: {error}"
    sys.stdout.write(json.dumps({**told, "errors": errors}))


if __name__ == "__main__":
    if sys.argv[1] == "--memory":  # asks no service, so that those that rest go on resting
        sys.stdout.write(json.dumps(pss_kib()))
    else:
        main(sys.argv[1])
