"""A module as the agent sends it: a body of a container, or a refusal that is the caller's."""

import json
from pathlib import Path

from skerry.base.http import HttpError
from skerry.workloads.container import create_body
from skerry.workloads.model import parse_spec


def _seed(name: object = "pump", **settings: object) -> bytes:
    config = {"settings": {"image": "x/pump:1", **settings}, "env": [{"key": "A", "value": "1"}]}
    return json.dumps({"name": name, "type": "docker", "config": config}).encode()


ALLOWED = (HttpError,)
SEEDS = (
    _seed(),
    _seed("../x"),
    _seed(image="$upstream/x@sha256:" + "0" * 64, auth={"username": "u", "password": "p"}),
    _seed(createOptions={"Env": ["A=1", "B"], "Labels": {"a": "b"}, "Tty": True}),
    _seed(createOptions={"HostConfig": {"Binds": ["/a:/run/iotedge:ro", "v:/v", "x"]}}),
    _seed(createOptions={"HostConfig": {"Mounts": [{"Target": "/run/iotedge/x"}, {}]}}),
    _seed(createOptions={"HostConfig": {"CapAdd": ["CAP_CHOWN"], "CapDrop": ["ALL"]}}),
    _seed(createOptions={"NetworkingConfig": {"EndpointsConfig": {"host": {}}}}),
    _seed(createOptions={"HostConfig": {"NetworkMode": "host", "Privileged": True}}),
    _seed(createOptions={"HostConfig": [1], "Env": {"a": 1}}),
    _seed(createOptions={"hostconfig": {"privileged": True, "capadd": ["ALL"]}}),
    _seed(createOptions=None),
)


def one(data: bytes) -> None:
    """Parse a specification and make a container's body of it, as edged does."""
    try:
        table = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(table, dict):
        return
    spec = parse_spec(table)
    try:
        body = create_body(
            spec,
            image=spec.image,
            sockets=Path("/s"),
            network="n",
            elevated_permissions=False,
        )
    except (AttributeError, TypeError, ValueError):
        return  # answered 422 by Modules
    host = body["HostConfig"]
    assert isinstance(host, dict)
    assert host["Privileged"] is False
    assert [name for name in body if name.casefold() == "hostconfig"] == ["HostConfig"]
    assert [name for name in host if name.casefold() in ("privileged", "capadd")] == ["Privileged"]
    ours = [mount for mount in host["Mounts"] if mount.get("Target") == "/run/iotedge"]
    assert ours == [{"Type": "bind", "Source": "/s", "Target": "/run/iotedge", "ReadOnly": True}]
