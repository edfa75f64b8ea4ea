"""`skerry deployment`, against the routes of edged that the agent and people use."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.edged import FakeEdged
from harness.agents import Site, manifest, module
from skerry.cli.main import run


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A device whose second deployment was rolled back."""
    site = Site(FakeEdged(), tmp_path, io.StringIO())
    monkeypatch.setenv("SKERRY_HOST", f"unix://{site.socket}")
    with site.edged.serving(site.socket):
        site.deploy(a=module("a:1"))
        site.run(10)
        site.edged.crashing_images.add("a:2")
        site.deploy(a=module("a:2"))
        site.run(40)
        yield site


def out(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command line that succeeds; returns what it printed."""
    assert run(["deployment", *arguments]) == 0
    return capsys.readouterr().out


def test_history_tells_how_each_ended(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """One line a deployment; JSON has the same."""
    head, first, second = out(capsys, "history").splitlines()
    assert head.split()[-3:] == ["VERSION", "OUTCOME", "REASON"]
    assert first.split()[4] == "committed"
    assert "rolled-back  a: ended with status 1" in second
    entries = json.loads(out(capsys, "history", "--output", "json"))["history"]
    assert [entry["outcome"] for entry in entries] == ["committed", "rolled-back"]


def test_show_names_what_is_not_tried_again(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Phase, digest in force, and the bad one with its reason."""
    text = out(capsys, "show")
    assert "phase            idle" in text
    assert "not tried again" in text
    shown: dict[str, Any] = json.loads(out(capsys, "show", "--output", "json"))
    assert (shown["phase"], len(shown["bad"])) == ("idle", 1)


def test_a_retry_reaches_the_agent(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Now that the image is well it is committed; then a rollback brings the former one."""
    site.edged.crashing_images.clear()
    assert out(capsys, "retry") == "Requested retry; see: skerry deployment show\n"
    site.run(20)
    assert site.edged.modules["a"].spec["config"]["settings"]["image"] == "a:2"
    assert json.loads(out(capsys, "rollback", "--output", "json"))["result"] == "requested"
    site.run(20)
    assert site.edged.modules["a"].spec["config"]["settings"]["image"] == "a:1"


def test_a_file_is_compared_and_applied(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run changes nothing."""
    file = tmp_path / "new.json"
    file.write_text(json.dumps(manifest(a=module("a:3"), b=module())))
    before = site.edged.deployment
    assert out(capsys, "diff", str(file)) == "b added\na changed\n"
    assert out(capsys, "apply", str(file), "--dry-run") == "b added\na changed\n"
    assert site.edged.deployment == before
    out(capsys, "apply", str(file))
    site.run(20)
    assert sorted(site.edged.modules) == ["a", "b"]
    assert out(capsys, "diff", str(file)) == "nothing would change\n"


def test_a_file_that_the_agent_would_refuse_is_not_applied(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason names the module."""
    file = tmp_path / "new.json"
    file.write_text(json.dumps(manifest(a=module(restartPolicy="maybe"))))
    before = site.edged.deployment
    assert run(["deployment", "apply", str(file)]) == 1
    assert "a: restartPolicy is 'maybe'" in capsys.readouterr().err
    assert site.edged.deployment == before
