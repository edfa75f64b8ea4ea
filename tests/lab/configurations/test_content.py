"""A deployment on one device: what it may say, and what the modules' twins then hold."""

import json
import re
from pathlib import Path

import pytest

from harness.lab import HUB, Hosted
from skerry.wire.identity import Identity
from skerry_lab.cli import main
from skerry_lab.configurations.content import content_from
from skerry_lab.registry.errors import HubError

AGENT = {"schemaVersion": "1.1", "modules": {"m1": {"type": "docker"}}}
CONTENT = {"modulesContent": {"$edgeAgent": {"properties.desired": AGENT}}}


def _token(hosted: Hosted, name: str) -> str:
    policy = hosted.store.do(lambda cloud: cloud.policies.get(name))
    assert policy is not None
    return hosted.token(HUB, policy.keys[0], name)


def _desired(hosted: Hosted, module_id: str) -> dict[str, object]:
    identity = Identity("d1", module_id)
    twin = hosted.store.do(lambda cloud: cloud.twins.get(identity))
    return dict(twin.desired.properties)


def test_a_content_reaches_the_twins(hosted: Hosted) -> None:
    """Over REST: the whole, then a part; modules that it names come to be."""
    hosted.registry.create_device("d1")
    line, token = "POST /devices/d1/applyConfigurationContent", _token(hosted, "iothubowner")
    content = {"modulesContent": {**CONTENT["modulesContent"], "m1": {"properties.desired.a.b": 1}}}
    assert hosted.call(line, content, token=token, version="2021-04-12").status == 204
    assert _desired(hosted, "$edgeAgent") == AGENT
    assert _desired(hosted, "m1") == {"a": {"b": 1}}
    part = {"modulesContent": {"m1": {"properties.desired.a.c": 2, "properties.desired.d": 3}}}
    assert hosted.call(line, part, token=token, version="2021-04-12").status == 204
    assert _desired(hosted, "m1") == {"a": {"b": 1, "c": 2}, "d": 3}
    managed = [m.managed_by for m in hosted.registry.modules("d1") if m.module_id == "m1"]
    assert managed == ["IotEdge"]
    reader = _token(hosted, "registryRead")
    assert hosted.call(line, content, token=reader, version="2021-04-12").status in (401, 403)


def test_a_device_that_is_none_and_one_without_edge(hosted: Hosted) -> None:
    """Nothing is stored of a content that cannot be applied."""
    hosted.registry.create_device("d2", edge=False)
    token = _token(hosted, "iothubowner")
    for device_id, status in (("none", 404), ("d2", 400)):
        line = f"POST /devices/{device_id}/applyConfigurationContent"
        got = hosted.call(line, CONTENT, token=token, version="2021-04-12")
        assert got.status == status
    assert hosted.registry.modules("d2") == []


@pytest.mark.parametrize(
    ("modules", "why"),
    [
        (None, "modulesContent is not a JSON object"),
        ({}, "names no module"),
        ({"m": 1}, "of 'm' is not a JSON object"),
        ({"m": {}}, "is empty"),
        ({"m": {"properties.desired": []}}, "is not a JSON object"),
        ({"m": {"properties.desired": {}, "properties.desired.a": 1}}, "has keys beside"),
        ({"m": {"tags.a": 1}}, "is not known"),
        ({"m": {"properties.desired.": 1}}, "is not known"),
        ({"m": {"properties.desired.a": 1, "properties.desired.a.b": 1}}, "lies below"),
        ({"m": {"properties.desired.a.b": 1, "properties.desired.a": 1}}, "lies above"),
        ({"m m": {"properties.desired": {}}}, "module id 'm m' is not valid"),
    ],
)
def test_what_is_no_content(modules: object, why: str) -> None:
    """Each error names the part."""
    with pytest.raises(HubError, match=re.escape(why)) as caught:
        content_from({"content": {"modulesContent": modules}})
    assert caught.value.status == 400


def test_deploy_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verb reads a file as `az iot edge set-modules` does."""
    data, file = ["--data", str(tmp_path / "lab")], tmp_path / "deployment.json"
    assert main(["device", "create", "d1", *data]) == 0
    file.write_text(json.dumps({"content": CONTENT}))
    assert main(["deploy", "set", "-d", "d1", "--content", str(file), *data]) == 0
    capsys.readouterr()
    assert main(["twin", "show", "-d", "d1", "-m", "$edgeAgent", *data]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["properties"]["desired"]["schemaVersion"] == "1.1"
    file.write_text("{")
    assert main(["deploy", "set", "-d", "d1", "-k", str(file), *data]) == 1
    assert "cannot be read as JSON" in capsys.readouterr().err
