"""The container engine: Moby, bounded logs, containers that outlive its restarts."""

import json

import pytest
from testinfra.host import Host

pytestmark = pytest.mark.appliance


def test_the_engine_starts_at_boot(host: Host) -> None:
    """docker.service is enabled."""
    assert host.file("/etc/systemd/system/multi-user.target.wants/docker.service").is_symlink


def test_the_engine_accepts_its_settings(host: Host) -> None:
    """daemon.json passes the engine's own check."""
    answer = host.run("/usr/sbin/dockerd --validate --config-file /etc/docker/daemon.json")
    assert answer.rc == 0, answer.stderr


def test_logs_are_bounded_and_containers_outlive_the_engine(booted: Host) -> None:
    """The running engine has live-restore and the log driver with a largest size."""
    told = json.loads(booted.check_output("docker info --format '{{json .}}'"))
    assert (told["LiveRestoreEnabled"], told["LoggingDriver"]) == (True, "local")


def test_only_its_group_reaches_the_engine(booted: Host) -> None:
    """The engine's socket is for root and the group docker."""
    socket = booted.file("/run/docker.sock")
    assert (socket.user, socket.group, socket.mode) == ("root", "docker", 0o660)
