"""Every route of both APIs in every version, called as upstream's own clients call them.

The table is that of upstream's OpenAPI files: when a route came, and what it answers.
"""

import json
import socket
from typing import Any

import pytest

from fakes.docker_engine import DockerEngine
from harness.edged import House
from skerry.workloads.api import VERSIONS

IMAGE = "localhost/test/pump:1"
DATA = {"keyId": "primary", "algo": "HMACSHA256", "data": "aGVsbG8="}
VECTOR = {"plaintext": "aGVsbG8=", "initializationVector": "MTIzNDU2Nzg5MDEy"}
SPEC = {
    "name": "pump",
    "type": "docker",
    "config": {"settings": {"image": IMAGE, "createOptions": {}}, "env": []},
}
MANAGEMENT: tuple[tuple[str, str, str, object, int], ...] = (
    ("2018-06-28", "GET", "/modules", None, 200),
    ("2018-06-28", "GET", "/modules/", None, 200),
    ("2018-06-28", "POST", "/identities", {"moduleId": "pump", "managedBy": "iotedge"}, 200),
    ("2018-06-28", "GET", "/identities/", None, 200),
    ("2018-06-28", "PUT", "/identities/pump", {"generationId": "1", "managedBy": "iotedge"}, 200),
    ("2018-06-28", "POST", "/modules", SPEC, 201),
    ("2019-01-30", "POST", "/modules/pump/prepareupdate", SPEC, 204),
    ("2018-06-28", "PUT", "/modules/pump?start=True", SPEC, 201),
    ("2018-06-28", "GET", "/modules/pump", None, 200),
    ("2018-06-28", "POST", "/modules/pump/start", None, 204),
    ("2018-06-28", "POST", "/modules/pump/restart", None, 204),
    ("2018-06-28", "GET", "/modules/pump/logs?follow=False&tail=5&since=0", None, 200),
    ("2018-06-28", "POST", "/modules/pump/stop", None, 204),
    ("2018-06-28", "DELETE", "/modules/pump", None, 204),
    ("2018-06-28", "DELETE", "/identities/pump", None, 204),
    ("2018-06-28", "GET", "/systeminfo", None, 200),
    ("2019-11-05", "GET", "/systeminfo/resources", None, 200),
)
WORKLOAD: tuple[tuple[str, str, object, int], ...] = (
    ("GET", "/modules", None, 200),
    ("POST", "/modules/%24edgeAgent/genid/1/sign", DATA, 200),
    ("POST", "/modules/%24edgeAgent/genid/1/encrypt", VECTOR, 200),
    ("POST", "/modules/%24edgeAgent/genid/1/certificate/server", {"commonName": "h"}, 201),
    ("POST", "/modules/%24edgeAgent/certificate/identity", None, 201),
    ("GET", "/trust-bundle", None, 200),
    ("GET", "/manifest-trust-bundle", None, 200),
)


def ask(
    house: House, name: str, method: str, target: str, version: str, body: object
) -> tuple[int, bytes]:
    """Send one request as the agent's .NET client does: chunked, charset, closed afterwards."""
    joint = "&" if "?" in target else "?"
    head = (
        f"{method} {target}{joint}api-version={version} HTTP/1.1\r\nHost: {name}.sock\r\n"
        "Connection: close\r\n"
    )
    data = b""
    if body is not None:
        text = json.dumps(body).encode()
        head += "Transfer-Encoding: chunked\r\nContent-Type: application/json; charset=utf-8\r\n"
        data = b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(house.folder / f"{name}.sock"))
        connection.sendall(head.encode() + b"\r\n" + data)
        answer = b""
        while block := connection.recv(65536):
            answer += block
    return int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_route_of_the_management_api_in_every_version(
    shared: tuple[House, DockerEngine], version: str
) -> None:
    """There from its first version on, 404 before."""
    house, engine = shared
    engine.images[IMAGE] = "sha256:" + "b" * 64
    house.caller = engine.containers["edgeAgent"].id
    for since, method, target, body, status in MANAGEMENT:
        expected = status if version >= since else 404
        got, answer = ask(house, "mgmt", method, target, version, body)
        assert (method, target, got) == (method, target, expected), answer


@pytest.mark.parametrize("version", VERSIONS)
def test_every_route_of_the_workload_api_in_every_version(
    shared: tuple[House, DockerEngine], version: str
) -> None:
    """Any version that the other API has is served here too."""
    house, engine = shared
    house.caller = engine.containers["edgeAgent"].id
    for method, target, body, status in WORKLOAD:
        got, answer = ask(house, "workload", method, target, version, body)
        assert (method, target, got) == (method, target, status), answer


@pytest.mark.parametrize("version", ["2017-01-01", "", "2018-06-28%20"])
def test_an_unknown_version_is_refused(shared: tuple[House, DockerEngine], version: str) -> None:
    """400 with the versions that there are."""
    house, _ = shared
    for name in ("mgmt", "workload"):
        status, answer = ask(house, name, "GET", "/modules", version, None)
        assert (status, b"expected one of 2018-06-28, " in answer) == (400, True)


def test_what_upstream_s_command_line_reads(shared: tuple[House, DockerEngine]) -> None:
    """`iotedge list` needs these fields, with these types, of every module."""
    house, _ = shared
    _, answer = ask(house, "mgmt", "GET", "/modules/", "2022-08-03", None)
    found: Any = json.loads(answer)
    for module in found["modules"]:
        assert set(module) == {"id", "name", "type", "config", "status"}
        assert isinstance(module["config"]["env"], list)
        assert module["config"]["settings"]["image"]
        assert set(module["status"]["runtimeStatus"]) >= {"status", "description"}
    _, answer = ask(house, "mgmt", "GET", "/systeminfo/resources", "2022-08-03", None)
    used = json.loads(answer)
    assert isinstance(json.loads(used["docker_stats"]), list)
    assert set(used) == {
        "host_uptime", "process_uptime", "used_cpu", "used_ram", "total_ram", "disks",
        "docker_stats",
    }  # fmt: skip
    for disk in used["disks"]:
        known = {"name", "available_space", "total_space", "file_system", "file_type"}
        assert set(disk) == known
