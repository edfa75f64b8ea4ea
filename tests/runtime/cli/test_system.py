"""`skerry system` with a systemctl on PATH that writes down what it is told, and a fake engine."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.docker_engine import DockerEngine, serving
from skerry.base.clock import SystemClock
from skerry.base.http import Request, Response, Router
from skerry.base.log import get_logger
from skerry.base.server import Listener, Server
from skerry.base.sockets import bind_unix
from skerry.cli import _units
from skerry.cli._device import owned_containers
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
    assert commands.read_text() == f"stop {' '.join(_units.sockets() + _units.units())}\n"
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["restart"], {"result": "restarted"}),
        (["set-log-level", "trace", "--unit-dir", "{}"], {"result": "set", "level": "debug"}),
        (["alias", "on", "--bin-dir", "{}"], {"command": "iotedge", "state": "on"}),
        (
            ["stop", "--remove", "--engine", "unix://{}/docker.sock"],
            {"result": "stopped", "stopped": ["edgeAgent", "a-pump"],
             "removed": ["a-pump", "edgeAgent", "ended"]},
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_what_was_done_is_told_programs_too(
    arguments: list[str],
    said: dict[str, object],
    engine: DockerEngine,
    commands: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`--output json` of the verbs that do something: one object, nothing on standard error."""
    assert run(["system", *(word.format(tmp_path) for word in arguments), "--output", "json"]) == 0
    found = capsys.readouterr()
    assert (json.loads(found.out).keys(), found.err) == (said.keys(), "")
    assert json.loads(found.out) == said


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


def test_stop_can_remove_the_containers_of_the_modules(
    engine: DockerEngine, commands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Running or ended, every module's container goes; somebody else's stays."""
    uri = f"unix://{tmp_path / 'docker.sock'}"
    assert run(["system", "stop", "--remove", "--engine", uri]) == 0
    assert set(engine.containers) == {"database"}
    assert "Removed a-pump\nRemoved edgeAgent\nRemoved ended\n" in capsys.readouterr().err
    assert owned_containers(uri) == []


def test_without_an_engine_there_are_no_containers(tmp_path: Path) -> None:
    """A machine whose engine is not installed has no modules that could be in the way."""
    assert owned_containers(f"unix://{tmp_path / 'docker.sock'}") == []


def test_the_log_level_is_a_drop_in_of_every_unit(
    commands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file per unit, systemd told of it, services restarted; upstream's trace is debug."""
    assert run(["system", "set-log-level", "trace", "--unit-dir", str(tmp_path / "units")]) == 0
    for unit in _units.units():
        text = (tmp_path / "units" / f"{unit}.d" / "log-level.conf").read_text()
        assert text.endswith("[Service]\nEnvironment=SKERRY_LOG=debug\n")
    told = commands.read_text().splitlines()
    assert told == ["daemon-reload", f"try-restart {' '.join(_units.units())}"]
    assert "level debug and above" in capsys.readouterr().err


def test_a_level_that_does_not_exist_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, with the levels that there are."""
    with pytest.raises(SystemExit) as caught:
        run(["system", "set-log-level", "loud"])
    assert caught.value.code == 2
    assert "invalid choice: 'loud'" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_named(
    commands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, and systemd is not told."""
    (tmp_path / "units").write_text("")
    assert run(["system", "set-log-level", "info", "--unit-dir", str(tmp_path / "units")]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert not commands.exists()


def identityd(folder: Path, router: Router) -> Server:
    listener = Listener("identityd", bind_unix(folder / "identityd.sock", mode=0o600), router)
    return Server([listener], clock=SystemClock(), log=get_logger("identityd"))


def test_reprovisioning_asks_identityd_then_restarts_edged(
    commands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """edged begins anew only once identityd has the new identity."""
    asked: list[str] = []
    router = Router(["2022-08-01"])

    def reprovision(request: Request) -> Response:
        asked.append(request.path)
        assert not commands.exists()
        return Response(204)

    router.add("POST", "/identities/device/reprovision", reprovision)
    server = identityd(tmp_path, router)
    thread = threading.Thread(target=server.run)
    thread.start()
    monkeypatch.setenv("SKERRY_RUN", str(tmp_path))
    try:
        assert run(["system", "reprovision"]) == 0
    finally:
        server.stop()
        thread.join()
    assert asked == ["/identities/device/reprovision"]
    assert commands.read_text() == "restart skerry-edged.service\n"


def test_reprovisioning_without_identityd_says_where_to_look(
    commands: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit status 1, and edged is left alone."""
    monkeypatch.setenv("SKERRY_RUN", str(tmp_path))
    assert run(["system", "reprovision"]) == 1
    assert capsys.readouterr().err.endswith("; see: journalctl -u skerry-identityd\n")
    assert not commands.exists()


SYSTEMCTL = """#!/bin/sh
case "$*" in
  *skerry-certd.service) printf 'LoadState=loaded\\nActiveState=failed\\nExecMainStatus=153\\n' ;;
  *.service) printf 'LoadState=loaded\\nActiveState=active\\n' ;;
esac
"""


def test_status_shows_the_last_words_of_a_failed_service(
    commands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A state for each service, then the journal of the failed one; exit status 1."""
    (tmp_path / "systemctl").write_text(SYSTEMCTL)
    (tmp_path / "journalctl").write_text('#!/bin/sh\necho "asked: $*"\n')
    (tmp_path / "journalctl").chmod(0o755)
    assert run(["system", "status"]) == 1
    assert capsys.readouterr().out == (
        "System services:\n"
        "    skerry-keyd             Running\n"
        "    skerry-certd            Down - failed (153)\n"
        "    skerry-tpmd             Running\n"
        "    skerry-identityd        Running\n"
        "    skerry-edged            Running\n"
        "\nskerry-certd.service:\n"
        "asked: --unit skerry-certd.service --lines 10 --no-pager --quiet\n"
    )
    assert run(["system", "status", "--output", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["failed"] == ["certd"]


def test_logs_are_those_of_journalctl(
    commands: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """All units merged, the caller's options handed over; its failure is ours."""
    (tmp_path / "journalctl").write_text('#!/bin/sh\necho "$*"\n[ "$1" = --unit ]\n')
    (tmp_path / "journalctl").chmod(0o755)
    assert run(["system", "logs", "--", "--since", "today"]) == 0
    words = capfd.readouterr().out.split()
    assert words[-2:] == ["--since", "today"]
    units = [word for word in words if word.endswith(".service")]
    assert units == [*_units.units(), "skerry-seed.service"]
    (tmp_path / "journalctl").write_text("#!/bin/sh\nexit 3\n")
    assert run(["system", "logs"]) == 1


@pytest.mark.parametrize(
    "verb", [["stop"], ["restart"], ["reprovision"], ["set-log-level", "info"]], ids=" ".join
)
def test_changing_verbs_need_root(
    verb: list[str],
    commands: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Another user is told so, and nothing is done."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert run(["system", *verb]) == 1
    assert capsys.readouterr().err.endswith("needs root; run it with sudo\n")
    assert not commands.exists()


def test_the_alias_is_a_link_that_can_be_taken_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On and off as often as one likes; what somebody else has put there stays."""
    link = tmp_path / "iotedge"
    for _ in range(2):
        assert run(["system", "alias", "on", "--bin-dir", str(tmp_path)]) == 0
        assert str(link.readlink()) == "/usr/bin/skerry"
    for _ in range(2):
        assert run(["system", "alias", "off", "--bin-dir", str(tmp_path)]) == 0
        assert not link.is_symlink()
    link.write_text("upstream's")
    capsys.readouterr()
    for state in ("on", "off"):
        assert run(["system", "alias", state, "--bin-dir", str(tmp_path)]) == 1
        assert "is there and not Skerry's; remove it first" in capsys.readouterr().err
    assert link.read_text() == "upstream's"
    assert run(["system", "alias", "on", "--bin-dir", str(tmp_path / "none")]) == 1
    assert "cannot be changed: No such file or directory" in capsys.readouterr().err
