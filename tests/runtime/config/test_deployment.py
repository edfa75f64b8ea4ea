"""What config.toml says of the deployment, as the agent reads it from deployment.json."""

import tomllib

import pytest

from skerry.agent.deployment import parse_deployment
from skerry.agent.model import TRIAL_SECONDS, Deployment, ReadinessKind
from skerry.config.build import build
from skerry.config.deployment import deployment
from skerry.config.document import read

BASE = '[provisioning]\nsource = "standalone"\n'
MODULE = f'{BASE}[modules.m]\nimage = "r.example:5000/a"\n'


def _read_by_the_agent(text: str) -> Deployment:
    assert read(text.encode(), "f").problems == ()
    return parse_deployment(deployment(build(tomllib.loads(text), "1")))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", TRIAL_SECONDS), ("[deployment]\n", TRIAL_SECONDS),
     ("[deployment]\ntrial_seconds = 0\n", 0), ("[deployment]\ntrial_seconds = 86400\n", 86400)],
)  # fmt: skip
def test_the_trial_lasts_as_long_as_written(text: str, seconds: float) -> None:
    """Nothing written leaves the agent its own default."""
    assert _read_by_the_agent(BASE + text).trial_seconds == seconds


@pytest.mark.parametrize(
    ("value", "problem"),
    [("-1", "deployment.trial_seconds"), ("86401", "deployment.trial_seconds"),
     ('"30s"', "deployment.trial_seconds")],
)  # fmt: skip
def test_a_trial_has_its_bounds(value: str, problem: str) -> None:
    """A time that the agent would refuse is refused at its place in the file."""
    problems = read(f"{BASE}[deployment]\ntrial_seconds = {value}\n".encode(), "f").problems
    assert [(found.key, found.line) for found in problems] == [(problem, 4)]


@pytest.mark.parametrize(
    ("readiness", "kind"),
    [('type = "healthcheck"', ReadinessKind.HEALTHCHECK),
     ('type = "tcp", port = 502', ReadinessKind.TCP),
     ('type = "http", port = 80, path = "/up", timeoutSeconds = 5', ReadinessKind.HTTP),
     ('type = "log", pattern = "^ready"', ReadinessKind.LOG)],
)  # fmt: skip
def test_the_agent_reads_every_kind_of_readiness(readiness: str, kind: ReadinessKind) -> None:
    """What the schema lets through the agent takes."""
    asked = _read_by_the_agent(f"{MODULE}readiness = {{ {readiness} }}\n").modules["m"].readiness
    assert asked is not None
    assert asked.kind is kind


@pytest.mark.parametrize("address", ["", 'serveraddress = "R.example:5000", '])
def test_the_agent_finds_the_login_of_a_module(address: str) -> None:
    """The registry is the image's, unless the login names one; the report has no password."""
    login = f'auth = {{ {address}username = "u", password = "swordfish" }}\n'
    found = _read_by_the_agent(MODULE + login)
    auth = found.modules["m"].auth
    assert auth is not None
    assert (auth["username"], auth["password"]) == ("u", "swordfish")
    assert "swordfish" not in repr(found)
