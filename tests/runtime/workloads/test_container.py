"""From a module to the body of its container."""

from pathlib import Path

import pytest

from skerry.workloads.container import create_body, merged_env
from skerry.workloads.model import IMAGE_LABEL, OWNER, OWNER_LABEL, ModuleSpec

SOCKETS = Path("/var/lib/skerry/edged/mnt/pump")
IMAGE = "x/pump:1"
SOCKET_MOUNT = {
    "Type": "bind",
    "Source": str(SOCKETS),
    "Target": "/run/iotedge",
    "ReadOnly": True,
}


def body_of(options: dict[str, object], *, elevated: bool = True) -> dict[str, object]:
    spec = ModuleSpec("pump", "x/pump:1", create_options=options, env={"B": "2", "A": "1"})
    return create_body(
        spec, image=IMAGE, sockets=SOCKETS, network="azure-iot-edge", elevated_permissions=elevated
    )


@pytest.mark.parametrize(
    "options",
    [
        {"HostConfig": {"privileged": True, "capadd": ["ALL"], "CAPDROP": ["KILL"]}},
        {"hostconfig": {"Privileged": True, "CapAdd": ["ALL"], "CapDrop": ["KILL"]}},
        {"Ho\u017ftConfig": {"Privileged": True, "CapAdd": ["ALL"], "CapDrop": ["KILL"]}},
    ],
)
def test_rights_are_withheld_however_they_are_spelled(options: dict[str, object]) -> None:
    """The engine reads names in any case, and so does edged."""
    body = body_of(options, elevated=False)
    host = {k: v for k, v in host_of(body).items() if k not in ("Mounts", "NetworkMode")}
    assert host == {"Privileged": False, "CapDrop": ["KILL", "CHOWN", "SETUID"]}
    assert "hostconfig" not in body


def test_labels_and_mounts_are_ours_however_they_are_spelled() -> None:
    """A name in another case takes neither the owner nor the sockets."""
    mounts = [{"target": "/run//iotedge/./x"}, {"TARGET": "//var/run/iotedge"}]
    body = body_of(
        {"labels": {OWNER_LABEL: "nobody"}, "image": "evil", "hostConfig": {"mounts": mounts}}
    )
    assert body["Labels"] == {OWNER_LABEL: OWNER, IMAGE_LABEL: IMAGE}
    assert (body["Image"], host_of(body)["Mounts"]) == (IMAGE, [SOCKET_MOUNT])
    assert not {"labels", "image", "hostConfig"} & body.keys()


def test_a_name_that_is_there_twice_is_refused() -> None:
    """Which one the engine would take is not for us to guess."""
    with pytest.raises(ValueError, match="'HostConfig' is there twice"):
        body_of({"HostConfig": {}, "hostconfig": {}})


def test_the_engine_s_name_of_the_image_may_be_another() -> None:
    """The container runs it; the label keeps the name that was asked for."""
    spec = ModuleSpec("pump", "$upstream/pump:1")
    body = create_body(
        spec, image="parent/pump:1", sockets=SOCKETS, network="n", elevated_permissions=True
    )
    assert body["Image"] == "parent/pump:1"
    assert body["Labels"] == {OWNER_LABEL: OWNER, IMAGE_LABEL: "$upstream/pump:1"}


def host_of(body: dict[str, object]) -> dict[str, object]:
    host = body["HostConfig"]
    assert isinstance(host, dict)
    return host


def test_every_module_gets_image_labels_network_and_sockets() -> None:
    """Without any createOptions the body is complete."""
    assert body_of({}) == {
        "Image": "x/pump:1",
        "Env": ["A=1", "B=2"],
        "Labels": {OWNER_LABEL: OWNER, IMAGE_LABEL: "x/pump:1"},
        "HostConfig": {"Mounts": [SOCKET_MOUNT], "NetworkMode": "azure-iot-edge"},
        "NetworkingConfig": {"EndpointsConfig": {"azure-iot-edge": {}}},
    }


def test_create_options_pass_whole_and_stay_unchanged() -> None:
    """What edged does not stand for reaches the engine as written; the argument is not touched."""
    options: dict[str, object] = {"Cmd": ["serve"], "HostConfig": {"Memory": 1 << 20}}
    body = body_of(options)
    assert body["Cmd"] == ["serve"]
    assert host_of(body)["Memory"] == 1 << 20
    assert options == {"Cmd": ["serve"], "HostConfig": {"Memory": 1 << 20}}


def test_labels_of_ours_cannot_be_replaced() -> None:
    """A module that names another owner is still ours; its other labels stay."""
    labels = body_of({"Labels": {OWNER_LABEL: "somebody", "site": "north"}})["Labels"]
    assert labels == {OWNER_LABEL: OWNER, IMAGE_LABEL: "x/pump:1", "site": "north"}


def test_environment_is_sorted_and_create_options_win() -> None:
    """Upstream's merge: createOptions replace names that the deployment sets too."""
    assert merged_env({"Z": "1", "A": "deployment"}, ["A=options", "M"]) == [
        "A=options",
        "M",
        "Z=1",
    ]


def test_mounts_over_our_sockets_are_dropped() -> None:
    """Upstream's agent binds the socket file itself; those binds would hide the folder."""
    options: dict[str, object] = {
        "HostConfig": {
            "Binds": [
                "/x/mnt/pump.sock:/var/run/iotedge/workload.sock",
                "/data:/data:ro",
            ],
            "Mounts": [
                {"Type": "bind", "Source": "/etc", "Target": "/run/iotedge/mgmt.sock"},
                {"Type": "volume", "Source": "v", "Target": "/run/iotedge-data"},
            ],
        }
    }
    host = host_of(body_of(options))
    assert host["Binds"] == ["/data:/data:ro"]
    assert host["Mounts"] == [
        {"Type": "volume", "Source": "v", "Target": "/run/iotedge-data"},
        SOCKET_MOUNT,
    ]


def test_a_network_of_its_own_is_kept() -> None:
    """Host networking and named endpoints are the module's decision."""
    host_mode = body_of({"HostConfig": {"NetworkMode": "host"}})
    assert "NetworkingConfig" not in host_mode
    named = body_of({"NetworkingConfig": {"EndpointsConfig": {"plant": {}}}})
    assert named["NetworkingConfig"] == {"EndpointsConfig": {"plant": {}}}
    assert "NetworkMode" not in host_of(named)


def test_elevated_rights_are_withheld_when_config_says_so() -> None:
    """No privileged mode, no added capabilities, and two fewer than the engine's default."""
    asked: dict[str, object] = {
        "HostConfig": {"Privileged": True, "CapAdd": ["NET_ADMIN"], "CapDrop": ["MKNOD"]}
    }
    host = host_of(body_of(asked, elevated=False))
    assert "CapAdd" not in host
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["MKNOD", "CHOWN", "SETUID"]
    assert host_of(body_of(asked))["Privileged"] is True
