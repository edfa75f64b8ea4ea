"""The native services as systemd units: restart them, and wait until they run with new settings.

A service that refuses its settings ends with status 153 and its unit fails; asking it again would
only start it again, so a failed unit is never asked.
"""

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from skerry.base.client import ApiError, ServiceClient, UnreachableError
from skerry.base.clock import Clock
from skerry.config.apply import ServiceError

_COMMAND_SECONDS = 180
_POLL_SECONDS = 0.2
_ANSWER_SECONDS = 5
_API = {"edged": ("mgmt.sock", "2022-08-03")}
_SOCKETS = {"edged": ("skerry-edged-mgmt.socket", "skerry-edged-workload.socket")}


class Systemd:
    """Drives `systemctl`, and asks the services at their sockets."""

    def __init__(
        self,
        clock: Clock,
        *,
        run_folder: Path = Path("/run/skerry"),
        patience_seconds: float = 60,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._run_folder = run_folder
        self._patience_seconds = patience_seconds
        self._pause = pause

    def present(self, service: str) -> bool:
        return self._property(service, "LoadState") == "loaded"

    def restart(self, services: Sequence[str]) -> None:
        if not services:
            return
        units = [_unit(service) for service in services]
        sockets = [name for service in services for name in _sockets(service)]
        # a unit that failed before, or was started too often, would refuse to start
        _systemctl("reset-failed", *units, *sockets, check=False)
        _systemctl("start", *sockets)
        try:
            _systemctl("restart", *units)
        except ServiceError:
            # systemctl says that a job failed; people need the service, and why it ended
            for service in services:
                if self._property(service, "ActiveState") != "active":
                    raise self._ended(service) from None
            raise

    def await_digest(self, service: str, digest: str) -> None:
        deadline = self._clock.monotonic() + self._patience_seconds
        answer = "no answer yet"
        while self._clock.monotonic() < deadline:
            state = self._property(service, "ActiveState"), self._property(service, "SubState")
            if state[0] == "failed" or state[1] == "auto-restart":
                raise self._ended(service)
            answer = self._answer(service)
            if answer == digest:
                return
            self._pause(_POLL_SECONDS)
        raise ServiceError(
            f"{service} does not run with its new settings after {self._patience_seconds:.0f} s: "
            f"{answer} (journalctl -u {_unit(service)})"
        )

    def _ended(self, service: str) -> ServiceError:
        status = self._property(service, "ExecMainStatus")
        # 0: its socket has started it once more since
        known = {"153": "refused its settings", "0": "did not start with its new settings"}
        why = known.get(status, f"ended with status {status}")
        return ServiceError(f"{service} {why} (journalctl -u {_unit(service)})")

    def _answer(self, service: str) -> str:
        """Return the digest that a service tells, or why it tells none."""
        socket, version = _API.get(service, (f"{service}.sock", "2020-09-01"))
        client = ServiceClient(self._run_folder / socket, version, _ANSWER_SECONDS)
        try:
            answer = client.get("/config")
        except (ApiError, UnreachableError) as error:
            return str(error)
        return str(answer.get("digest")) if isinstance(answer, dict) else "no digest"

    @staticmethod
    def _property(service: str, name: str) -> str:
        return _systemctl("show", "--property", name, "--value", _unit(service)).strip()


class AtBoot:
    """Before the services have started: nothing to restart, they will read the new settings."""

    def present(self, service: str) -> bool:
        return False

    def restart(self, services: Sequence[str]) -> None:
        """Do nothing."""

    def await_digest(self, service: str, digest: str) -> None:
        """Do nothing."""


def _unit(service: str) -> str:
    return f"skerry-{service}.service"


def _sockets(service: str) -> tuple[str, ...]:
    return _SOCKETS.get(service, (f"skerry-{service}.socket",))


def _systemctl(*arguments: str, check: bool = True) -> str:
    try:
        done = subprocess.run(
            ["systemctl", *arguments],
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=check,
        )
    except FileNotFoundError as error:
        raise ServiceError(
            "systemctl is not on this machine; use --output-dir to render only"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"systemctl {' '.join(arguments)} did not end in time") from error
    except subprocess.CalledProcessError as error:
        detail = str(error.stderr).strip().replace("\n", "; ")
        raise ServiceError(f"systemctl {' '.join(arguments)}: {detail}") from error
    return done.stdout
