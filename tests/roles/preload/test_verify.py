"""The container images that the appliance carries, and the workloads made of them."""

import json

import pytest
from testinfra.host import Host

from harness.look import Seen, look

pytestmark = pytest.mark.appliance

LIST = "cat /usr/lib/skerry/images/preload.json"
DIGESTS = "cd /usr/lib/skerry/images && sha256sum *.tar"
LOADED = "docker image ls --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}'"
USERS = "docker ps -q | xargs docker inspect --format '{{.Name}} {{.Config.User}}'"
MODULES = "skerry list --output json"
SENSOR = "skerry logs sample-sensor | grep -e '\"identity proven\"' -e '\"reading\"' | head -n 3"


@pytest.fixture(scope="module")
def seen(host: Host) -> Seen:
    return look(host, [], [LIST, DIGESTS, LOADED, USERS, MODULES, SENSOR])


def images_of(seen: Seen) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(seen.said[LIST].ok())["images"]
    return found


def pairs(text: str) -> dict[str, str]:
    """Two words a line as a table."""
    words = [line.split() for line in text.splitlines()]
    return {line[0]: line[1] if len(line) > 1 else "" for line in words}


def modules_of(seen: Seen) -> dict[str, str]:
    """Status of each module by name, as `skerry list` tells."""
    modules = json.loads(seen.said[MODULES].ok())["modules"]
    return {module["name"]: module["status"]["runtimeStatus"]["status"] for module in modules}


def test_archives_are_what_the_list_names(seen: Seen) -> None:
    """Every archive has the sha256 of preload.json, and no other is there."""
    digests = {name: digest for digest, name in pairs(seen.said[DIGESTS].ok()).items()}
    assert digests == {image["file"]: image["sha256"] for image in images_of(seen)}


def test_the_engine_has_the_carried_images(configured: Seen) -> None:
    """Every carried image is loaded, under the id that preload.json names."""
    loaded = pairs(configured.said[LOADED].ok())
    wanted = {image["ref"]: image["id"] for image in images_of(configured)}
    assert {ref: loaded.get(ref) for ref in wanted} == wanted


def test_every_module_runs(configured: Seen) -> None:
    """The agent and the modules of the deployment are running."""
    modules = modules_of(configured)
    assert "edgeAgent" in modules
    assert {name: status for name, status in modules.items() if status != "running"} == {}


def test_modules_are_not_root(configured: Seen) -> None:
    """No container of the appliance runs as root."""
    users = pairs(configured.said[USERS].ok())
    roots = [name for name, user in users.items() if user.partition(":")[0] in ("", "0", "root")]
    assert roots == []


def test_the_sensor_has_proved_its_identity(configured: Seen) -> None:
    """The sample sensor, where there is one, proved its certificate and then logged readings."""
    if "sample-sensor" not in modules_of(configured):
        pytest.skip("the deployment has no sample-sensor")
    lines = configured.said[SENSOR].ok().splitlines()
    assert [json.loads(line)["event"] for line in lines][:2] == ["identity proven", "reading"]
