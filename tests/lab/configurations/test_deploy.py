"""`skerry-lab deploy`: deployments by hand, without a server."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.lab_fleet import edge_content
from skerry_lab.cli import main

Verb = Callable[..., str]


@pytest.fixture
def verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Verb:
    """Runs a verb on a lab with edge device `e` and returns its output, or what went wrong."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        status = main([*arguments, "--data", str(tmp_path / "lab")])
        said = capsys.readouterr()
        return said.out if status == 0 else f"{status}: {said.err}"

    run("device", "create", "e")
    return run


def test_a_deployment_from_its_start_to_its_end(verb: Verb, tmp_path: Path) -> None:
    """From a file, with metrics inline; the counts are those of the devices."""
    file = tmp_path / "deployment.json"
    file.write_text(json.dumps({"content": edge_content(base=True, m={"whole": {"x": 1}})}))
    metrics = '{"metrics": {"queries": {"all": "SELECT * FROM devices"}}}'
    made = verb(
        "deploy", "create", "-d", "d", "-k", str(file), "--tc", "*", "--pri", "3",
        "--labels", '{"a": "b"}', "--metrics", metrics, "--output", "json",
    )  # fmt: skip
    assert json.loads(made)["appliedCount"] == 1
    shown = json.loads(verb("deploy", "show", "-d", "d"))
    assert (shown["priority"], shown["labels"]) == (3, {"a": "b"})
    twin = json.loads(verb("twin", "show", "-d", "e", "-m", "m"))
    assert twin["properties"]["desired"]["x"] == 1
    assert json.loads(verb("deploy", "metrics", "-d", "d", "--output", "json")) == {
        "targetedCount": 1,
        "appliedCount": 1,
        "reportedSuccessfulCount": 0,
        "reportedFailedCount": 0,
        "all": 1,
    }
    assert verb("deploy", "metrics", "-d", "d", "--metric-id", "all") == "all  1\n"
    assert "no metric 'none'" in verb("deploy", "metrics", "-d", "d", "--metric-id", "none")
    assert verb("deploy", "list").splitlines() == [
        "id  priority  targetCondition  targetedCount  appliedCount",
        "d   3         *                1              1",
    ]
    assert len(json.loads(verb("deploy", "list", "--output", "json", "--top", "1"))) == 1
    changed = verb("deploy", "update", "-d", "d", "--tc", "tags.a = 1", "--output", "json")
    assert json.loads(changed)["targetedCount"] == 0
    assert json.loads(verb("deploy", "show", "-d", "d"))["priority"] == 3
    assert verb("deploy", "delete", "-d", "d") == ""
    assert "Configuration d is not there" in verb("deploy", "show", "-d", "d")


def test_layers_have_to_be_named_as_such(verb: Verb) -> None:
    """And what is none may not; nothing is stored of either."""
    layer = json.dumps(edge_content(m={"x": 1}))
    base = json.dumps(edge_content(base=True))
    assert "use --layered" in verb("deploy", "create", "-d", "d", "-k", layer)
    assert "leave --layered away" in verb("deploy", "create", "-d", "d", "-k", base, "--layered")
    assert json.loads(verb("deploy", "list", "--output", "json")) == []
    assert verb("deploy", "create", "-d", "d", "-k", layer, "--layered").startswith("id")


def test_what_is_refused(verb: Verb, tmp_path: Path) -> None:
    """With exit status 1 and the reason."""
    base = json.dumps(edge_content(base=True))
    bad = verb("deploy", "create", "-d", "d", "-k", base, "--tc", "tags.a =")
    assert bad.startswith("1: ")
    assert "column 9" in bad
    assert "cannot be read" in verb("deploy", "create", "-d", "d", "-k", str(tmp_path / "none"))
    verb("deploy", "create", "-d", "d", "-k", base)
    assert "already there" in verb("deploy", "create", "-d", "d", "-k", base)
    assert "nothing is to change" in verb("deploy", "update", "-d", "d")
    assert "Precondition" in verb("deploy", "update", "-d", "d", "--pri", "1", "--etag", "x")
    assert "Precondition" in verb("deploy", "delete", "-d", "d", "--etag", "x")
