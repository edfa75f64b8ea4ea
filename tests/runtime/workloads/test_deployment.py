"""The deployment and the agent's report, as files."""

import json
import threading
from pathlib import Path

import pytest

from skerry.workloads.deployment import Deployment, DeploymentError


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path / "deployment.json", tmp_path / "status.json")


def test_no_file_is_no_deployment(deployment: Deployment) -> None:
    """Before `config apply`, and before the agent reported."""
    assert (deployment.read(), deployment.report()) == (None, None)


def test_a_new_deployment_is_seen_at_the_next_call(deployment: Deployment, tmp_path: Path) -> None:
    """Nothing is kept from one request to the next."""
    (tmp_path / "deployment.json").write_text('{"modulesContent": {}}')
    assert deployment.read() == {"modulesContent": {}}
    (tmp_path / "deployment.json").write_text('{"modulesContent": {"a": 1}}')
    assert deployment.read() == {"modulesContent": {"a": 1}}


@pytest.mark.parametrize(("text", "reason"), [("{", "cannot be read"), ("[]", "holds list")])
def test_a_broken_deployment_names_its_file(
    deployment: Deployment, tmp_path: Path, text: str, reason: str
) -> None:
    """Broken and absent are told apart."""
    (tmp_path / "deployment.json").write_text(text)
    with pytest.raises(DeploymentError, match=rf"deployment\.json {reason}"):
        deployment.read()


def test_a_report_lasts_and_the_same_one_costs_no_write(
    deployment: Deployment, tmp_path: Path
) -> None:
    """Flash wears out: an agent that reports every minute writes once."""
    deployment.put_report({"a": 1})
    first = (tmp_path / "status.json").stat()
    deployment.put_report({"a": 1})
    assert (tmp_path / "status.json").stat().st_ino == first.st_ino
    deployment.put_report({"a": 2})
    assert json.loads((tmp_path / "status.json").read_text()) == {"a": 2}
    assert (tmp_path / "status.json").stat().st_mode & 0o777 == 0o600


def test_news_are_told_at_once(deployment: Deployment, tmp_path: Path) -> None:
    """Of another file, of a deployment by hand and of a request; else the time is waited."""
    states = [deployment.news("", 0)]
    (tmp_path / "deployment.json").write_text("{}")
    states.append(deployment.news(states[-1], 30))
    for change in (lambda: deployment.apply({}), lambda: deployment.ask("retry")):
        timer = threading.Timer(0.05, change)
        timer.start()
        states.append(deployment.news(states[-1], 30))
        timer.join()
    assert len(set(states)) == 4
    assert deployment.news(states[-1], 0.01) == states[-1]
