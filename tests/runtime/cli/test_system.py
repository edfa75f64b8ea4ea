"""`skerry system` with a systemctl on PATH that writes down what it is told, and a fake engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.docker_engine import DockerEngine, serving
from skerry.cli import system
from skerry.cli.main import run
from skerry.engine.client import MobyEngine

IMAGE = "localhost/test/pump:1"
OWNER = {"net.azure-devices.edge.owner": "Microsoft.Azure.Devices.Edge.Agent"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DockerEngine]:
    """Two modules and somebody else's container, all running, and a module that has ended."""
    fake = DockerEngine(images={IMAGE: "sha256:" + "b" * 64})
    with serving(fake, tmp_path / "docker.sock"):
        client = MobyEngine(f"unix://{tmp_path / 'docker.sock'}")
        for name in ("a-pump", "edgeAgent", "ended"):
            client.create(name, {"Image": IMAGE, "Labels": OWNER})
        client.create("database", {"Image": IMAGE})
        for name in ("a-pump", "edgeAgent", "database"):
            client.start(name)
        yield fake


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that writes its arguments to a file; fails when the file `fail` is there."""
    script = f'#!/bin/sh\necho "$*" >> {tmp_path}/told\n'
    script += f"if [ -e {tmp_path}/fail ]; then echo 'no such unit' >&2; exit 5; fi\n"
    (tmp_path / "systemctl").write_text(script)
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return tmp_path / "told"


def test_stop_ends_services_and_modules_the_agent_first(
    engine: DockerEngine,
    commands: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Services go before the agent, the agent before what it would start; others stay."""
    assert run(["system", "stop", "--engine", f"unix://{tmp_path / 'docker.sock'}"]) == 0
    assert commands.read_text() == f"stop {' '.join(system.sockets() + system.units())}\n"
    stops = [path for method, path in engine.calls if path.endswith("/stop")]
    ids = {name: container.id for name, container in engine.containers.items()}
    assert stops == [f"/containers/{ids[name]}/stop" for name in ("edgeAgent", "a-pump")]
    assert engine.containers["database"].status == "running"
    assert "Stopped edgeAgent\nStopped a-pump\n" in capsys.readouterr().err


def test_restart_leaves_the_modules_alone(engine: DockerEngine, commands: Path) -> None:
    """Sockets are started, services restarted, edged started, and no container is touched."""
    engine.calls.clear()
    assert run(["system", "restart"]) == 0
    verbs = [line.split()[0] for line in commands.read_text().splitlines()]
    assert verbs == ["reset-failed", "start", "try-restart", "start"]
    assert commands.read_text().endswith("start skerry-edged.service\n")
    assert engine.calls == []


def test_a_refusal_of_systemd_is_passed_on(
    engine: DockerEngine, commands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """systemctl's own words, exit status 1, and the modules go on."""
    (tmp_path / "fail").touch()
    engine.calls.clear()
    assert run(["system", "stop"]) == 1
    assert commands.exists()
    assert capsys.readouterr().err == "skerry: systemctl stop: no such unit\n"
    assert engine.calls == []
