"""Services as systemd units, with a `systemctl` on PATH that only remembers."""

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from skerry.base.clock import SystemClock
from skerry.base.http import Response, Router
from skerry.base.log import get_logger
from skerry.base.server import Listener, Server
from skerry.base.sockets import bind_unix
from skerry.config.apply import ServiceError
from skerry.host.systemd import AtBoot, Systemd

SYSTEMCTL = """\
#!/bin/sh
echo "$*" >> "$0.log"
case "$*" in
  *LoadState*skerry-tpmd*) echo not-found ;;
  *LoadState*) echo loaded ;;
  *ActiveState*skerry-certd*) echo failed ;;
  *ActiveState*) echo active ;;
  *SubState*skerry-identityd*) echo auto-restart ;;
  *SubState*) echo running ;;
  *ExecMainStatus*) cat "$0.status" ;;
  restart*skerry-certd*) echo "Job for skerry-certd.service failed." >&2; exit 1 ;;
  restart*skerry-keyd*) echo "Job failed." >&2; exit 1 ;;
esac
"""


class Ticking:
    """Every pause is a second."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        raise AssertionError

    def monotonic(self) -> float:
        return self.seconds

    def pause(self, seconds: float) -> None:
        self.seconds += 1


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    (program.parent / "systemctl.status").write_text("153\n")
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return program


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str, str, object], None]]:
    """Start a service that tells a digest."""
    running: list[tuple[Server, threading.Thread]] = []

    def start(socket: str, version: str, answer: object) -> None:
        router = Router([version])
        router.add("GET", "/config", lambda _request: Response.json(answer))
        listener = Listener(socket, bind_unix(tmp_path / socket, mode=0o600), router)
        server = Server([listener], clock=SystemClock(), log=get_logger("test"))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))

    yield start
    for server, thread in running:
        server.stop()
        thread.join()


@pytest.fixture
def services(tmp_path: Path, systemctl: Path) -> Systemd:
    clock = Ticking()
    return Systemd(clock, run_folder=tmp_path, patience_seconds=3, pause=clock.pause)


def test_a_unit_that_is_not_installed_is_absent(services: Systemd) -> None:
    """systemd says which units there are."""
    assert (services.present("keyd"), services.present("tpmd")) == (True, False)


def test_services_are_restarted_in_one_call(services: Systemd, systemctl: Path) -> None:
    """Failed units are forgiven, sockets listen, then all services restart together."""
    services.restart(["identityd", "edged"])
    services.restart([])
    sockets = "skerry-identityd.socket skerry-edged-mgmt.socket skerry-edged-workload.socket"
    assert Path(f"{systemctl}.log").read_text().splitlines() == [
        f"reset-failed skerry-identityd.service skerry-edged.service {sockets}",
        f"start {sockets}",
        "restart skerry-identityd.service skerry-edged.service",
    ]


def test_a_restart_that_a_service_refuses_says_which(services: Systemd) -> None:
    """The service and its exit status come before the words of systemctl."""
    with pytest.raises(ServiceError, match=r"^certd refused its settings \(journalctl -u "):
        services.restart(["identityd", "certd"])


def test_a_restart_that_fails_without_a_culprit_says_what_systemctl_said(
    services: Systemd,
) -> None:
    """All services run, and still the restart failed."""
    with pytest.raises(ServiceError, match=r"^systemctl restart .*: Job failed\.$"):
        services.restart(["keyd"])


def test_a_service_that_systemd_starts_again_and_again_is_not_waited_for(
    services: Systemd, systemctl: Path
) -> None:
    """It has ended once already with the new settings."""
    Path(f"{systemctl}.status").write_text("1\n")
    with pytest.raises(ServiceError, match=r"^identityd ended with status 1 "):
        services.await_digest("identityd", "d")


def test_a_machine_without_systemd_is_told_what_to_do(
    services: Systemd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rendering is what works there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match="use --output-dir to render only"):
        services.present("keyd")


def test_a_service_with_its_new_settings_is_accepted(
    services: Systemd, serve: Callable[[str, str, object], None]
) -> None:
    """keyd answers at its socket, edged at that of management."""
    serve("keyd.sock", "2020-09-01", {"digest": "d1"})
    serve("mgmt.sock", "2022-08-03", {"digest": "d2"})
    services.await_digest("keyd", "d1")
    services.await_digest("edged", "d2")


@pytest.mark.parametrize(
    ("answer", "told"), [({"digest": "old"}, "old"), ([], "no digest"), ({}, "None")]
)
def test_a_service_with_other_settings_is_not(
    services: Systemd, serve: Callable[[str, str, object], None], answer: object, told: str
) -> None:
    """After the patience the last answer is in the message."""
    serve("keyd.sock", "2020-09-01", answer)
    with pytest.raises(ServiceError) as caught:
        services.await_digest("keyd", "new")
    assert str(caught.value) == (
        f"keyd does not run with its new settings after 3 s: {told} "
        "(journalctl -u skerry-keyd.service)"
    )


def test_a_service_that_does_not_answer_is_waited_for_in_vain(services: Systemd) -> None:
    """The socket that gave no answer is named."""
    with pytest.raises(ServiceError, match=r"no answer on .*keyd\.sock"):
        services.await_digest("keyd", "d")


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("153", "refused its settings"),
        ("1", "ended with status 1"),
        ("0", "did not start with its new settings"),
    ],
)
def test_a_failed_service_is_not_asked_again(
    services: Systemd, systemctl: Path, status: str, why: str
) -> None:
    """Asking would start it again; its exit status says why it failed."""
    Path(f"{systemctl}.status").write_text(f"{status}\n")
    with pytest.raises(ServiceError) as caught:
        services.await_digest("certd", "d")
    assert str(caught.value) == f"certd {why} (journalctl -u skerry-certd.service)"


def test_at_boot_nothing_is_restarted() -> None:
    """The services start afterwards and read the new settings."""
    services = AtBoot()
    services.restart(["keyd"])
    services.await_digest("keyd", "d")
    assert not services.present("keyd")
