"""Modules as the management API reads and writes them."""

from datetime import UTC, datetime

import pytest

from skerry.base.http import HttpError
from skerry.engine.model import Container, State
from skerry.workloads.model import (
    IMAGE_LABEL,
    check_name,
    details,
    identity_of,
    module_of,
    parse_spec,
    runtime_status,
)
from skerry.workloads.settings import PullPolicy

STARTED = datetime(2026, 11, 23, 11, 0, 0, tzinfo=UTC)


def spec(**changes: object) -> dict[str, object]:
    settings = {"image": "x/pump:1", "createOptions": {"Cmd": ["serve"]}, "auth": {"username": "u"}}
    config = {"settings": settings, "env": [{"key": "A", "value": "1"}]}
    return {"name": "pump", "type": "docker", "config": config, **changes}


def test_a_module_spec_is_read_whole() -> None:
    """Image, createOptions, login, environment and policy arrive typed."""
    found = parse_spec(spec(imagePullPolicy="never"))
    assert (found.name, found.image, found.env) == ("pump", "x/pump:1", {"A": "1"})
    assert found.create_options == {"Cmd": ["serve"]}
    assert found.auth is not None
    assert found.auth.fields == {"username": "u"}
    assert found.pull_policy is PullPolicy.NEVER


def test_what_may_be_absent_may_be_null() -> None:
    """The .NET agent writes null for what it does not set."""
    settings = {"image": "x/pump:1", "createOptions": None, "auth": None, "digest": None}
    body = spec(config={"settings": settings, "env": None}, imagePullPolicy=None)
    found = parse_spec(body)
    assert (found.create_options, found.auth, found.env) == ({}, None, {})
    assert found.pull_policy is PullPolicy.ON_CREATE


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (spec(type="vm"), 400, "module type 'vm' is not known; expected 'docker'"),
        (spec(name="../x"), 400, "module name '../x' is not usable"),
        (spec(imagePullPolicy="always"), 422, "imagePullPolicy 'always'"),
        (spec(config={"settings": {"image": ""}}), 400, "config.settings.image is empty"),
        (spec(config={}), 422, "settings is missing"),
        (
            spec(
                config={
                    "settings": {"image": "x"},
                    "env": [{"key": "A", "value": "1"}, {"key": "A", "value": "2"}],
                }
            ),
            400,
            "config.env names 'A' twice",
        ),
        (spec(config={"settings": {"image": "x"}, "env": ["A=1"]}), 422, "config.env has 'A=1'"),
        (spec(config={"settings": {"image": "x"}, "env": {}}), 201, ""),
    ],
)
def test_a_wrong_spec_says_what_is_wrong(
    body: dict[str, object], status: int, message: str
) -> None:
    """Shape errors are 422, values that cannot be are 400; an empty object is no environment."""
    if status == 201:
        assert parse_spec(body).env == {}
        return
    with pytest.raises(HttpError) as caught:
        parse_spec(body)
    assert caught.value.status == status
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["", "a", "-ab", "a/b", "..", "a" * 129, "pümp"])
def test_names_that_could_not_name_a_container(name: str) -> None:
    """What the engine would refuse, or what would leave the folder of sockets, is refused."""
    with pytest.raises(HttpError, match="is not usable"):
        check_name(name)


def test_system_modules_have_a_dollar_in_their_identity() -> None:
    """edgeAgent and $edgeAgent are one module; all other names are the same on both sides."""
    assert [identity_of(name) for name in ("edgeAgent", "edgeHub", "pump")] == [
        "$edgeAgent",
        "$edgeHub",
        "pump",
    ]
    assert [module_of(name) for name in ("$edgeAgent", "pump")] == ["edgeAgent", "pump"]


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        ("created", 0, "stopped"),
        ("paused", 0, "stopped"),
        ("restarting", 1, "stopped"),
        ("exited", 0, "stopped"),
        ("exited", 137, "failed"),
        ("removing", 1, "failed"),
        ("dead", 0, "dead"),
        ("running", 0, "running"),
        ("dreaming", 0, "unknown"),
    ],
)
def test_the_engine_s_states_in_the_api_s_words(status: str, code: int, word: str) -> None:
    """Upstream's mapping."""
    assert runtime_status(State(status, code)) == word


def container(state: State) -> Container:
    return Container("c" * 64, "pump", "x/pump:1", "sha256:1", {IMAGE_LABEL: "x/pump"}, state)


def test_details_of_a_running_module() -> None:
    """Times are RFC 3339 with Z; the image is the one that was asked for."""
    found = details(container(State("running", started_at=STARTED)))
    assert found["config"] == {
        "settings": {
            "image": "x/pump",
            "imageHash": "sha256:1",
            "createOptions": {"Labels": {IMAGE_LABEL: "x/pump"}},
        },
        "env": [],
    }
    assert found["status"] == {
        "startTime": "2026-11-23T11:00:00.000000Z",
        "runtimeStatus": {"status": "running", "description": "running"},
    }


def test_details_of_a_failed_module() -> None:
    """Exit time, code and the engine's own error are told."""
    state = State("exited", 127, STARTED, STARTED, "no such file")
    status = details(container(state))["status"]
    assert status == {
        "startTime": "2026-11-23T11:00:00.000000Z",
        "exitStatus": {"exitTime": "2026-11-23T11:00:00.000000Z", "statusCode": "127"},
        "runtimeStatus": {"status": "failed", "description": "exited: no such file"},
    }
