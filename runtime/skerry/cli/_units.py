"""The native services as systemd knows them, for the verbs of `skerry system`."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from skerry.base.errors import SkerryError

SERVICES = ("edged", "identityd", "certd", "keyd", "tpmd")
"""In the order in which they are stopped: who asks before who answers."""

_SOCKETS = {"edged": ("skerry-edged-mgmt.socket", "skerry-edged-workload.socket")}
_COMMAND_SECONDS = 180


def units() -> list[str]:
    return [f"skerry-{name}.service" for name in SERVICES]


def sockets() -> list[str]:
    return [s for name in SERVICES for s in _SOCKETS.get(name, (f"skerry-{name}.socket",))]


def socket_of(name: str) -> Path:
    """Return the socket of a service; SKERRY_RUN names another folder than /run/skerry."""
    return Path(os.environ.get("SKERRY_RUN", "/run/skerry")) / f"{name}.sock"


def needs_root(what: str) -> None:
    """Refuse to go on as another user."""
    if os.geteuid() != 0:
        raise SkerryError(f"{what} needs root; run it with sudo")


def systemctl(*arguments: str, check: bool = True) -> None:
    """Tell systemd; with `check` its refusal is a SkerryError."""
    done = _run(["systemctl", *arguments], capture=True)
    if check and done.returncode:
        raise SkerryError(f"systemctl {arguments[0]}: {done.stderr.strip()}")


def journal(arguments: Sequence[str]) -> int:
    """Show the journal of all services, oldest first, with the caller's own options; its status."""
    named = [word for unit in (*units(), "skerry-seed.service") for word in ("--unit", unit)]
    return _run(["journalctl", *named, *arguments], capture=False).returncode


def last_lines(unit: str, number: int) -> str:
    """Return the end of a unit's journal."""
    command = ["journalctl", "--unit", unit, "--lines", str(number), "--no-pager", "--quiet"]
    return str(_run(command, capture=True).stdout)


def _run(command: list[str], *, capture: bool) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            capture_output=capture,
            text=True,
            timeout=_COMMAND_SECONDS if capture else None,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise SkerryError(f"{' '.join(command[:2])} cannot be run: {error}") from error
