"""The container images that the appliance carries, and the workloads made of them."""

import json

import pytest
from testinfra.host import Host

pytestmark = pytest.mark.appliance

FOLDER = "/usr/lib/skerry/images"


def images_of(host: Host) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(host.check_output(f"cat {FOLDER}/preload.json"))[
        "images"
    ]
    return found


def modules_of(host: Host) -> dict[str, str]:
    """Status of each module by name, as `skerry list` tells."""
    told = json.loads(host.check_output("skerry list --output json"))
    return {
        module["name"]: module["status"]["runtimeStatus"]["status"] for module in told["modules"]
    }


def test_archives_are_what_the_list_names(host: Host) -> None:
    """Every archive has the sha256 of preload.json."""
    for image in images_of(host):
        assert host.file(f"{FOLDER}/{image['file']}").sha256sum == image["sha256"]


def test_the_engine_has_the_carried_images(configured: Host) -> None:
    """Every carried image is loaded, under the id that preload.json names."""
    for image in images_of(configured):
        told = configured.check_output(
            f"docker image inspect --format '{{{{.Id}}}}' {image['ref']}"
        )
        assert told == image["id"]


def test_every_module_runs(configured: Host) -> None:
    """The agent and the modules of the deployment are running."""
    modules = modules_of(configured)
    assert "edgeAgent" in modules
    assert {name: status for name, status in modules.items() if status != "running"} == {}


def test_the_sensor_has_proved_its_identity(configured: Host) -> None:
    """The sample sensor, where there is one, proved its certificate and then logged readings."""
    if "sample-sensor" not in modules_of(configured):
        pytest.skip("the deployment has no sample-sensor")
    lines = configured.check_output("skerry logs sample-sensor").splitlines()
    events = [json.loads(line)["event"] for line in lines if line.startswith("{")]
    assert "identity proven" in events
    assert "reading" in events


def test_modules_are_not_root(configured: Host) -> None:
    """No process of a carried image runs as root."""
    for name in modules_of(configured):
        user = configured.check_output(f"docker inspect --format '{{{{.Config.User}}}}' {name}")
        assert user.partition(":")[0] not in ("", "0", "root")
