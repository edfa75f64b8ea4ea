"""The container engine: Moby, bounded logs, containers that outlive its restarts."""

import json

import pytest
from testinfra.host import Host

from harness.look import Seen, look

pytestmark = pytest.mark.appliance

ENABLED = "/etc/systemd/system/multi-user.target.wants/docker.service"
SOCKET = "/run/docker.sock"
CHECK = "/usr/sbin/dockerd --validate --config-file /etc/docker/daemon.json"
NO_PORT = "ss -Hltnp | grep -e containerd -e dockerd || true"
INFO = "docker info --format '{{json .}}'"


@pytest.fixture(scope="module")
def seen(host: Host) -> Seen:
    return look(host, [ENABLED, SOCKET], [CHECK, INFO, NO_PORT])


def test_the_engine_starts_at_boot(seen: Seen) -> None:
    """docker.service is enabled."""
    assert seen.file(ENABLED).link is not None


def test_the_engine_accepts_its_settings(seen: Seen) -> None:
    """daemon.json passes the engine's own check."""
    seen.said[CHECK].ok()


def test_logs_are_bounded_and_containers_outlive_the_engine(booted: Seen) -> None:
    """The running engine has live-restore and the log driver with a largest size."""
    told = json.loads(booted.said[INFO].ok())
    assert (told["LiveRestoreEnabled"], told["LoggingDriver"]) == (True, "local")


def test_only_its_group_reaches_the_engine(booted: Seen) -> None:
    """The engine's socket is for root and the group docker."""
    socket = booted.file(SOCKET)
    assert (socket.user, socket.group, socket.mode) == ("root", "docker", 0o660)


def test_the_engine_listens_on_no_port(booted: Seen) -> None:
    """Nothing of the engine can be reached over a network, the loopback included."""
    assert booted.said[NO_PORT].ok() == ""
