"""Manifests: every shape that upstream sends, and what is refused with which words."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.agent.deployment import parse_deployment, spec_digest
from skerry.agent.errors import DeploymentError, SchemaVersionError
from skerry.agent.model import RestartPolicy, Status


def manifest(modules: object = None, **desired: object) -> dict[str, Any]:
    """Return a manifest with some modules."""
    properties = {"schemaVersion": "1.1", "modules": modules or {}, **desired}
    return {"modulesContent": {"$edgeAgent": {"properties.desired": properties}}}


def module(**fields: object) -> dict[str, object]:
    """Return a usable module with some fields changed."""
    return {"type": "docker", "settings": {"image": "i:1"}, **fields}


def test_defaults_of_a_module() -> None:
    """A module that says only its image runs, always restarts and comes last."""
    found = parse_deployment(manifest({"m": module()})).modules["m"]
    assert (found.image, found.status, found.restart_policy) == (
        "i:1",
        Status.RUNNING,
        RestartPolicy.ALWAYS,
    )
    assert found.startup_order == 4_294_967_295
    assert found.identity == "m"


def test_secrets_of_a_module_are_named_and_another_one_needs_another_container() -> None:
    """Only the names are in a deployment; without any the digest is what it always was."""
    plain = parse_deployment(manifest({"m": module()})).modules["m"]
    named = parse_deployment(manifest({"m": module(secrets=["db"])})).modules["m"]
    assert named.secrets == ("db",)
    assert spec_digest(plain) == spec_digest(replace(named, secrets=()))
    assert spec_digest(plain) != spec_digest(named)
    for wrong in ("db", [1], ["../db"]):
        refused = parse_deployment(manifest({"m": module(secrets=wrong)})).refused
        assert "expected a list of names of secrets" in refused["m"]


def test_system_modules_are_known_by_their_identity() -> None:
    """The hub is `$edgeHub`; the agent is left to edged."""
    found = parse_deployment(
        manifest(systemModules={"edgeHub": module(), "edgeAgent": module()})
    ).modules
    assert [entry.identity for entry in found.values()] == ["$edgeHub"]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"createOptions": '{"HostConfig":{"Memory":1}}'}, id="string"),
        pytest.param({"createOptions": {"HostConfig": {"Memory": 1}}}, id="object"),
        pytest.param(
            {
                "createOptions": '{"HostCo',
                "createOptions01": 'nfig":{"Mem',
                "createOptions02": 'ory":1}}',
            },
            id="chunks",
        ),
    ],
)
def test_create_options_come_in_three_shapes(settings: dict[str, object]) -> None:
    """String, object and numbered chunks mean the same."""
    entry = module(settings={"image": "i:1", **settings})
    found = parse_deployment(manifest({"m": entry})).modules["m"]
    assert found.create_options == {"HostConfig": {"Memory": 1}}


@pytest.mark.parametrize("empty", ["", "null", None, "{}"])
def test_empty_create_options(empty: str | None) -> None:
    """Nothing, in every spelling, is no option."""
    entry = module(settings={"image": "i:1", "createOptions": empty})
    assert parse_deployment(manifest({"m": entry})).modules["m"].create_options == {}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        pytest.param(5, "module m is int", id="no object"),
        pytest.param({"type": "docker", "settings": {}}, "settings.image is None", id="image"),
        pytest.param({"type": "docker", "settings": 1}, "settings is int", id="settings"),
        pytest.param(module(type="wasm"), "type is 'wasm', expected 'docker'", id="type"),
        pytest.param(module(status="asleep"), "status is 'asleep'", id="status"),
        pytest.param(module(restartPolicy="maybe"), "restartPolicy is 'maybe'", id="policy"),
        pytest.param(module(startupOrder=-1), "startupOrder is -1", id="order"),
        pytest.param(module(startupOrder=True), "startupOrder is True", id="order is a bool"),
        pytest.param(module(imagePullPolicy="later"), "imagePullPolicy is 'later'", id="pull"),
        pytest.param(module(env={"A": "b"}), "env.A is 'b'", id="env"),
        pytest.param(module(dependsOn="x"), "dependsOn is 'x'", id="depends"),
        pytest.param(module(dependsOn=["x"]), "dependsOn names 'x'", id="unknown dependency"),
        pytest.param(module(dependsOn=["m"]), "goes round in a circle", id="itself"),
        pytest.param(
            module(settings={"image": "i", "createOptions": "{"}), "not JSON", id="options text"
        ),
        pytest.param(
            module(settings={"image": "i", "createOptions": []}), "is list", id="options type"
        ),
    ],
)
def test_a_bad_module_is_refused_and_the_others_go_on(entry: object, message: str) -> None:
    """One module's mistake is its own."""
    found = parse_deployment(manifest({"m": entry, "good": module()}))
    assert set(found.modules) == {"good"}
    assert message in found.refused["m"]


def test_a_circle_of_dependencies_is_refused_whole() -> None:
    """Each module of the circle, and who depends on it, is refused; others are not."""
    found = parse_deployment(
        manifest(
            {
                "a": module(dependsOn=["b"]),
                "b": module(dependsOn=["a"]),
                "c": module(dependsOn=["a"]),
                "d": module(),
                "e": module(dependsOn=["d"]),
            }
        )
    )
    assert set(found.refused) == {"a", "b", "c"}
    assert set(found.modules) == {"d", "e"}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param([], "not an object", id="list"),
        pytest.param({"modulesContent": 1}, "modulesContent is int", id="content"),
        pytest.param({}, "not an object", id="empty"),
        pytest.param(manifest(schemaVersion="2.0"), "schemaVersion is '2.0'", id="schema"),
        pytest.param(manifest(schemaVersion=None), "schemaVersion is None", id="no schema"),
        pytest.param(manifest([1]), "expected an object", id="modules"),
    ],
)
def test_what_is_no_manifest_is_refused_whole(document: object, message: str) -> None:
    """The message names the key and its value."""
    with pytest.raises(DeploymentError, match=message):
        parse_deployment(document)


def test_an_image_of_the_parent_is_taken_by_its_port() -> None:
    """edged knows the parent's name; anything else with a dollar sign is a mistake."""
    taken, refused = "$upstream:5000/pump:1", "$parent/pump:1"
    found = parse_deployment(
        manifest({"a": module(settings={"image": taken}), "b": module(settings={"image": refused})})
    )
    assert found.modules["a"].image == taken
    assert "$upstream:PORT" in found.refused["b"]


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.1.0"])
def test_both_versions_of_the_schema_are_taken(version: str) -> None:
    """With all that either of them has, as upstream's parser does."""
    entry = module(startupOrder=3, imagePullPolicy="never", version="2.0")
    found = parse_deployment(manifest({"m": entry}, schemaVersion=version)).modules["m"]
    assert (found.startup_order, found.pull_policy, found.version) == (3, "never", "2.0")


@pytest.mark.parametrize("version", ["1", "1.2", "2.0", "", "1.1-beta", 1.1])
def test_other_versions_of_the_schema_are_refused(version: object) -> None:
    """412, as upstream answers."""
    with pytest.raises(SchemaVersionError, match=r"expected '1\.0' or '1\.1'"):
        parse_deployment(manifest(schemaVersion=version))


@given(st.text(max_size=3000))
def test_chunks_of_any_text_are_put_together(text: str) -> None:
    """In order, up to a hundred; a gap ends them."""
    written = json.dumps({"Env": [text]})
    parts = [written[at : at + 512] for at in range(0, len(written), 512)]
    names = ["createOptions", *(f"createOptions{number:02}" for number in range(1, len(parts)))]
    settings = {"image": "i:1", **dict(zip(names, parts, strict=True)), "createOptions99": "no"}
    found = parse_deployment(manifest({"m": module(settings=settings)})).modules["m"]
    assert found.create_options == {"Env": [text]}
