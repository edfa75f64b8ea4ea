"""File upload: begin, write as to Azure Storage, tell; services hear of it."""

import asyncio
import base64
import json
import stat
from collections.abc import Awaitable
from urllib.parse import parse_qsl, urlsplit

import pytest

from harness.lab import HUB, Hosted
from skerry.heads.routes import Answer, Request, Router, Stream
from skerry_lab.messages.blobs import Blobs
from skerry_lab.messages.files_api import FilesApi
from skerry_lab.registry.errors import HubError

NOTIFICATIONS = "/messages/serviceBound/filenotifications"
BLOCK_BLOB = {"x-ms-blob-type": "BlockBlob"}


@pytest.fixture
def lab(hosted: Hosted) -> Hosted:
    """A lab with one device."""
    hosted.registry.create_device("d1")
    return hosted


def ask(lab: Hosted, request: Request) -> Answer:
    """Ask the routes of files, or else the others."""
    found = Router(FilesApi(lab.store).routes()).find(request)
    try:
        if found is None:
            return lab.store.do(lambda cloud: cloud.answer(request))
        handler, parameters = found
        answer = asyncio.run(_awaited(handler(request, **parameters)))
    except Exception as error:
        return lab.store.cloud.refusal(error)
    assert isinstance(answer, Answer)
    return answer


async def _awaited(answer: Awaitable[Answer | Stream]) -> Answer | Stream:
    return await answer


def device(lab: Hosted, path: str, body: object, device_id: str = "d1") -> Answer:
    key = lab.registry.device(device_id).authentication.keys[0]
    headers = {"authorization": lab.token(f"{HUB}/devices/{device_id}", key)}
    query = {"api-version": "2019-10-01"}
    return ask(lab, Request("POST", path, query, headers, json.dumps(body).encode()))


def service(lab: Hosted, line: str, policy: str = "service") -> Answer:
    found = lab.store.do(lambda cloud: cloud.policies.get(policy))
    assert found is not None
    headers = {"authorization": lab.token(HUB, found.keys[0], policy)}
    method, path = line.split()
    return ask(lab, Request(method, path, {"api-version": "2021-04-12"}, headers))


def begin(lab: Hosted, name: str = "a b/log.txt") -> dict[str, str]:
    got = device(lab, "/devices/d1/files", {"blobName": name})
    assert got.status == 200, got
    found: dict[str, str] = json.loads(got.body)
    return found


def finish(lab: Hosted, correlation_id: str, *, is_success: bool = True) -> Answer:
    body = {"correlationId": correlation_id, "isSuccess": is_success, "statusCode": 201}
    return device(lab, "/devices/d1/files/notifications", body)


def put(lab: Hosted, told: dict[str, str], body: bytes, **more: str) -> Answer:
    """Write to where the stock samples do: host, container, name and token put together."""
    name = told["blobName"].replace(" ", "%20")
    url = urlsplit(f"https://{told['hostName']}/{told['containerName']}/{name}{told['sasToken']}")
    query = {**dict(parse_qsl(url.query)), **more}
    return ask(lab, Request("PUT", url.path, query, BLOCK_BLOB, body))


def test_a_file_is_uploaded(lab: Hosted) -> None:
    """The device is told where, the file lies in the lab's folder, services are told."""
    told = begin(lab)
    assert (told["hostName"], told["containerName"]) == (HUB, "files")
    assert told["blobName"] == "d1/a b/log.txt"
    assert put(lab, told, b"text").status == 201
    assert service(lab, f"GET {NOTIFICATIONS}").status == 204
    assert finish(lab, told["correlationId"]).status == 204
    got = service(lab, f"GET {NOTIFICATIONS}")
    assert json.loads(got.body) == {
        "deviceId": "d1",
        "blobUri": f"https://{HUB}/files/d1/a b/log.txt",
        "blobName": "d1/a b/log.txt",
        "lastUpdatedTime": "2026-11-23T12:00:00+00:00",
        "blobSizeInBytes": 4,
        "enqueuedTimeUtc": "2026-11-23T12:00:00.000000Z",
    }
    token = got.headers["etag"].strip('"')
    assert service(lab, f"POST {NOTIFICATIONS}/{token}/abandon").status == 204
    token = service(lab, f"GET {NOTIFICATIONS}").headers["etag"].strip('"')
    assert service(lab, f"DELETE {NOTIFICATIONS}/{token}").status == 204
    assert service(lab, "GET /files/d1/a%20b/log.txt").body == b"text"
    assert service(lab, "GET /files/d1/other").status == 404
    assert service(lab, "GET /files/d1/a%20b/log.txt", "registryRead").status == 403
    [path] = (path for path in (lab.folder / "files").rglob("*") if path.is_file())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_may_come_in_blocks(lab: Hosted) -> None:
    """In the order of the list, whatever the order of arrival; the blocks are gone afterwards."""
    told = begin(lab, "big")
    ids = [base64.b64encode(f"{n:05}+/".encode()).decode() for n in range(3)]
    for block_id in reversed(ids):
        got = put(lab, told, block_id.encode(), comp="block", blockid=block_id)
        assert got.status == 201
    names = "".join(f"<Latest>{block_id}</Latest>" for block_id in ids)
    listed = f"<?xml version='1.0'?><BlockList>{names}</BlockList>".encode()
    missing = listed.replace(b"</BlockList>", b"<Latest>eA==</Latest></BlockList>")
    assert put(lab, told, missing, comp="blocklist").status == 400
    assert service(lab, "GET /files/d1/big").status == 404
    assert put(lab, told, listed, comp="blocklist").status == 201
    assert service(lab, "GET /files/d1/big").body == "".join(ids).encode()
    assert [path.is_dir() for path in (lab.folder / "files").rglob("*")] == [True, False]


def test_an_upload_that_failed_is_not_told(lab: Hosted) -> None:
    """And what was written of it in blocks is removed."""
    told = begin(lab)
    put(lab, told, b"x", comp="block", blockid="AA==")
    assert finish(lab, told["correlationId"], is_success=False).status == 204
    assert service(lab, f"GET {NOTIFICATIONS}").status == 204
    assert not [path for path in (lab.folder / "files").rglob("*") if path.is_file()]
    assert finish(lab, told["correlationId"]).status == 404


def test_a_secret_is_for_one_file_and_one_hour(lab: Hosted) -> None:
    """Another file, another secret, a finished or an old upload: 403, and nothing is written."""
    told = begin(lab)
    other = {**told, "blobName": "d1/other"}
    assert put(lab, other, b"x").status == 403
    assert put(lab, told, b"x", sig="ä").status == 403
    finish(lab, told["correlationId"], is_success=False)
    assert put(lab, told, b"x").status == 403
    late = begin(lab)
    lab.clock.move(3600)
    assert put(lab, late, b"x").status == 403
    assert not [path for path in (lab.folder / "files").rglob("*") if path.is_file()]


def test_blocks_of_an_upload_that_never_ended_go(lab: Hosted) -> None:
    """With the next upload after its hour, unless somebody writes the same file."""
    for name in ("a", "b"):
        put(lab, begin(lab, name), b"x", comp="block", blockid="AA==")
    lab.clock.move(1800)
    begin(lab, "b")
    lab.clock.move(1800)
    begin(lab, "c")
    folders = [path.name for path in (lab.folder / "files").rglob(".*.blocks")]
    assert len(folders) == 1
    assert folders[0].startswith(".b")


def test_ten_uploads_at_once(lab: Hosted) -> None:
    """The next is 403 until one has ended, by the device or by time."""
    first = begin(lab)
    for _ in range(9):
        begin(lab)
    got = device(lab, "/devices/d1/files", {"blobName": "x"})
    assert (got.status, got.headers["iothub-errorcode"]) == (
        403,
        "DeviceMaximumActiveFileUploadLimitExceeded",
    )
    finish(lab, first["correlationId"])
    begin(lab)
    lab.clock.move(3600)
    begin(lab)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/devices/d1/files", {}, 400),
        ("/devices/d1/files", {"blobName": ""}, 400),
        ("/devices/d1/files", {"blobName": "x" * 1025}, 400),
        ("/devices/d1/files/notifications", {"correlationId": "x"}, 400),
        ("/devices/d1/files/notifications", {"correlationId": "x", "isSuccess": True}, 404),
        ("/devices/d2/files", {"blobName": "x"}, 401),
        ("/devices/d2/files/notifications", {"correlationId": "x", "isSuccess": True}, 401),
    ],
)
def test_what_is_refused(lab: Hosted, path: str, body: object, status: int) -> None:
    """Bodies of the wrong shape, unknown uploads, another device's files."""
    lab.registry.create_device("d2")
    assert device(lab, path, body).status == status


def test_how_a_file_is_written_is_checked(lab: Hosted) -> None:
    """Another kind of blob, another `comp`."""
    told = begin(lab)
    got = put(lab, told, b"x", comp="page")
    assert (got.status, b"expected block or blocklist" in got.body) == (400, True)
    url = urlsplit(f"/files/{told['blobName'].replace(' ', '%20')}{told['sasToken']}")
    got = ask(lab, Request("PUT", url.path, dict(parse_qsl(url.query))))
    assert (got.status, b"x-ms-blob-type" in got.body) == (400, True)


@pytest.mark.parametrize("name", ["..", ".", "../../etc/passwd", "a" * 900, "/", "ä\x00"])
def test_names_stay_in_the_folder(lab: Hosted, name: str) -> None:
    """Whatever a device is called or calls its file, it is one file in the device's folder."""
    blobs = Blobs(lab.folder / "files")
    blobs.put(name, name, b"x")
    assert (blobs.get(name, name), blobs.size(name, name)) == (b"x", 1)
    [path] = (path for path in (lab.folder / "files").rglob("*") if path.is_file())
    assert path.parent.parent == lab.folder / "files"


def test_blocks_are_bounded(lab: Hosted) -> None:
    """All blocks of a file together; the one too many is 413."""
    blobs = Blobs(lab.folder / "files", max_file_bytes=10)
    blobs.put_block("d1", "f", "a", b"x" * 10)
    with pytest.raises(HubError, match="more than 10 bytes") as raised:
        blobs.put_block("d1", "f", "b", b"x")
    assert raised.value.status == 413
