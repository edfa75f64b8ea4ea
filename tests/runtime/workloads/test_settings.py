"""edged's settings, as `skerry config apply` writes them and as people change them by hand."""

import tomllib
from datetime import time
from pathlib import Path

import pytest

from skerry.base.errors import SettingsError
from skerry.base.settings import merge
from skerry.certs.renewal import RenewalPolicy
from skerry.workloads.settings import (
    CollectionSettings,
    PullPolicy,
    ReprovisioningMode,
    parse_settings,
)

GOLDEN = Path(__file__).resolve().parents[2] / "golden/config"
RENDERED = sorted(GOLDEN.glob("*/edged.toml"))
MINIMAL: dict[str, object] = {
    "hostname": "pump-station-7",
    "agent": {"name": "edgeAgent", "type": "docker", "config": {"image": "localhost/agent:1"}},
}


@pytest.mark.parametrize("path", RENDERED, ids=[path.parent.name for path in RENDERED])
def test_every_rendered_file_is_understood(path: Path) -> None:
    """What the plan renders for any configuration is what edged reads."""
    settings = parse_settings(tomllib.loads(path.read_text()))
    assert settings.hostname
    assert settings.agent.name == "edgeAgent"


def test_the_defaults_are_upstream_s() -> None:
    """A file that names host and agent only."""
    settings = parse_settings(MINIMAL)
    assert settings.moby_uri == "unix:///var/run/docker.sock"
    assert (settings.network.name, settings.network.ipv6) == ("azure-iot-edge", False)
    assert settings.agent.pull_policy is PullPolicy.ON_CREATE
    assert settings.reprovisioning is ReprovisioningMode.DYNAMIC
    assert (settings.management_requests, settings.workload_requests) == (50, 10)
    assert settings.max_retries is None
    assert settings.elevated_permissions is True
    assert (settings.edge_ca.issued, settings.edge_ca.auto_renew) == (True, RenewalPolicy())


def test_what_is_set_is_used() -> None:
    """Network, limits, watchdog and login."""
    table = merge(
        MINIMAL,
        {
            "agent": {
                "imagePullPolicy": "never",
                "config": {"auth": {"username": "u", "password": "p"}},
            },
            "iotedge_max_requests": {"management": 7, "workload": 3},
            "watchdog": {"max_retries": 4},
            "edge_ca": {"cert": "aziot-edged-ca", "key": "aziot-edged-ca"},
            "moby_runtime": {
                "network": {
                    "name": "plant",
                    "ipv6": True,
                    "ipam": {"config": [{"subnet": "10.9.0.0/24", "ip_range": "10.9.0.0/25"}]},
                }
            },
        },
    )
    settings = parse_settings(table)
    assert settings.agent.auth is not None
    assert settings.agent.auth.fields == {"username": "u", "password": "p"}
    assert (settings.management_requests, settings.workload_requests) == (7, 3)
    assert settings.max_retries == 4
    assert settings.edge_ca.issued is False
    assert settings.network.ipam == ({"Subnet": "10.9.0.0/24", "IPRange": "10.9.0.0/25"},)


def test_when_images_are_collected() -> None:
    """Once a day at midnight what was of no use for a week, unless config.toml says otherwise."""
    assert parse_settings(MINIMAL).collection == CollectionSettings(True, 1, 7 * 86400, time(0))
    table = {
        "enabled": False,
        "cleanup_recurrence": "48h",
        "image_age_cleanup_threshold": "1 day 12h",
        "cleanup_time": "23:30",
    }
    made = parse_settings(merge(MINIMAL, {"image_garbage_collection": table})).collection
    assert made == CollectionSettings(False, 2, 36 * 3600, time(23, 30))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"agent": {"config": {"createOptions": {"User": "1", "user": "0"}}}},
            "agent.config.createOptions: 'User' is there twice",
        ),
        ({"image_garbage_collection": {"cleanup_time": "24:00"}}, "cleanup_time is '24:00', exp"),
        ({"image_garbage_collection": {"cleanup_recurrence": "36h"}}, "not a number of whole days"),
        (
            {"image_garbage_collection": {"image_age_cleanup_threshold": "2 moons"}},
            "image_garbage_collection.image_age_cleanup_threshold is '2 moons', expected '1d'",
        ),
        ({"hostname": ""}, "hostname is '', expected a text that is not empty"),
        ({"agent": {"type": "vm"}}, "agent.type is 'vm', expected 'docker'"),
        ({"agent": {"config": {"image": 7}}}, "agent.config.image is 7"),
        ({"agent": {"imagePullPolicy": "always"}}, "expected one of 'on-create', 'never'"),
        ({"agent": {"env": {"A": 1}}}, "agent.env.A is 1, expected a text"),
        ({"auto_reprovisioning_mode": "Never"}, "expected one of 'Dynamic', 'AlwaysOnStartup'"),
        ({"moby_runtime": {"uri": "tcp://x"}}, "moby_runtime.uri is 'tcp://x', expected unix:///"),
        ({"moby_runtime": {"network": 5}}, "moby_runtime.network is 5, expected a name"),
        ({"watchdog": {"max_retries": -1}}, "watchdog.max_retries is -1, expected 'infinite'"),
        ({"iotedge_max_requests": {"workload": 0}}, "iotedge_max_requests.workload is 0"),
        ({"allow_elevated_docker_permissions": "yes"}, "is 'yes', expected true or false"),
        ({"edge_ca": {"auto_renew": {"threshold": 80}}}, "edge_ca.auto_renew.threshold is 80"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, object], message: str) -> None:
    """The message names the key, the value and what was expected."""
    with pytest.raises(SettingsError) as caught:
        parse_settings(merge(MINIMAL, change))
    assert message in str(caught.value)
