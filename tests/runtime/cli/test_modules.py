"""`skerry list`, `logs`, `restart` and `status` against a running edged."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.docker_engine import DockerEngine, serving
from harness.edged import House, status_of, until
from skerry.cli.logs import entries
from skerry.cli.main import run
from skerry.workloads.model import OWNER, OWNER_LABEL


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    folder = tmp_path_factory.mktemp("cli-modules", numbered=False)
    fake = DockerEngine(images={"localhost/test/agent:1": "sha256:" + "a" * 64})
    with serving(fake, folder / "docker.sock"):
        yield fake


@pytest.fixture(scope="module")
def house(engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A device whose agent runs and whose module `pump` has written something."""
    folder = tmp_path_factory.getbasetemp() / "cli-modules"
    made = House(folder, f"unix://{folder / 'docker.sock'}")
    made.configure()
    made.host_security()
    made.host()
    try:
        until(lambda: status_of(engine, "edgeAgent") == "running", "the agent runs")
        made.caller = engine.containers["edgeAgent"].id
        client = made.client("edgeAgent/mgmt.sock")
        settings = {"image": "localhost/test/agent:1"}
        client.post(
            "/modules", {"name": "pump", "type": "docker", "config": {"settings": settings}}
        )
        client.post("/modules/pump/start")
        engine.containers["pump"].log = b"reading 1\nreading 2\n"
        yield made
    finally:
        made.stop()


@pytest.fixture(autouse=True)
def host(house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "systemctl").write_text(
        "#!/bin/sh\nprintf 'LoadState=loaded\\nActiveState=active\\n'\n"
    )
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SKERRY_HOST", f"unix://{house.folder / 'mgmt.sock'}")


def test_list_shows_every_module_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a module, with a head."""
    assert run(["list"]) == 0
    head, agent, pump = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "STATUS", "DESCRIPTION", "CONFIG"]
    assert agent.startswith("edgeAgent  running  Up ")
    assert pump.startswith("pump       running  Up ")
    assert pump.endswith("localhost/test/agent:1")


def test_list_as_json_is_what_the_api_says(capsys: pytest.CaptureFixture[str]) -> None:
    """The same modules, ModuleDetails as they are."""
    assert run(["list", "--output", "json"]) == 0
    modules = json.loads(capsys.readouterr().out)["modules"]
    assert [module["name"] for module in modules] == ["edgeAgent", "pump"]


def test_a_container_of_others_is_not_listed(
    engine: DockerEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Modules are those with the owner's label."""
    body = engine.containers["pump"].body
    assert body["Labels"] == {
        OWNER_LABEL: OWNER,
        "net.azure-devices.edge.original-image": "localhost/test/agent:1",
    }
    engine.containers["foreign"] = type(engine.containers["pump"])("foreign", "f" * 64, {}, "")
    try:
        assert run(["list"]) == 0
        assert "foreign" not in capsys.readouterr().out
    finally:
        del engine.containers["foreign"]


def test_logs_are_copied_without_frames(capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output of the module is standard output here."""
    assert run(["logs", "pump"]) == 0
    assert capfd.readouterr() == ("reading 1\nreading 2\n", "")


def test_logs_may_be_limited(capfd: pytest.CaptureFixture[str]) -> None:
    """`--tail 1` is the last line."""
    assert run(["logs", "--tail", "1", "pump"]) == 0
    assert capfd.readouterr().out == "reading 2\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["logs", "nobody"], "skerry: No such container: nobody\n"),
        (["restart", "nobody"], "skerry: No such container: nobody\n"),
        (["logs", "--tail", "few", "pump"], "skerry: tail is 'few', expected 'all' or a number\n"),
        (
            ["logs", "--since", "yesterday", "pump"],
            "skerry: time 'yesterday' is not understood; expected '90m', '1 day', "
            "'2026-01-31T12:00:00Z' or unix seconds\n",
        ),
    ],
)
def test_what_edged_refuses_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1 and edged's own words."""
    assert run(arguments) == 1
    assert capsys.readouterr() == ("", message)


def test_logs_as_json_are_lines_with_their_time(capfd: pytest.CaptureFixture[str]) -> None:
    """One object a line, and the engine is asked for times."""
    assert run(["logs", "--output", "json", "pump"]) == 0
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [entry["stream"] for entry in found] == ["stdout", "stdout"]


def test_lines_are_put_together_from_frames() -> None:
    """Streams do not mix, a long line in two frames loses the second one's time."""
    stamp = b"2026-11-24T00:00:00.000000001Z "
    frames = [
        (1, stamp + b"long "), (2, stamp + b"wrong\xff\n"), (1, stamp + b"line\n" + stamp + b"\n"),
        (1, stamp + b"last"),
    ]  # fmt: skip
    assert [(one["stream"], one["text"]) for one in entries(frames)] == [
        ("stderr", "wrong\ufffd"), ("stdout", "long line"), ("stdout", ""), ("stdout", "last"),
    ]  # fmt: skip
    assert {one["time"] for one in entries(frames)} == {stamp.decode().strip()}


def test_restart_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """What was done, for programs."""
    assert run(["restart", "--output", "json", "pump"]) == 0
    assert json.loads(capsys.readouterr().out) == {"module": "pump", "result": "restarted"}


def test_restart_stops_and_starts(engine: DockerEngine, capsys: pytest.CaptureFixture[str]) -> None:
    """The engine restarts that container and no other."""
    before = engine.count("POST", "/containers/pump/restart")
    assert run(["restart", "pump"]) == 0
    assert capsys.readouterr().out == "Restarted pump\n"
    assert engine.count("POST", "/containers/pump/restart") == before + 1
    assert engine.count("POST", "/containers/edgeAgent/restart") == 0


def test_status_shows_what_the_agent_reported(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    """Applied or failed, with the agent's reason; all is well exits 0."""
    client = house.client("edgeAgent/mgmt.sock")
    client.put("/deployment/status", {"lastDesiredStatus": {"code": 200, "description": ""}})
    assert run(["status"]) == 0
    assert "deployment  applied\n" in capsys.readouterr().out
    failed = {"lastDesiredStatus": {"code": 500, "description": "pump: image not found"}}
    client.put("/deployment/status", failed)
    assert run(["status"]) == 0
    assert "deployment  failed (500)  pump: image not found\n" in capsys.readouterr().out
    assert run(["status", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["deployment"] == failed
