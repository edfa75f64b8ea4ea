"""File upload: a device asks where to, writes the file as to Azure Storage, and says that it has.

The hub is the storage too: `PUT /files/{device}/{name}?…&sig=…`, whole or in blocks. These routes
live on the loop since writing files blocks; the database says who may.
"""

import asyncio
import re
from email.utils import format_datetime
from urllib.parse import quote

from skerry.heads.routes import Answer, LiveRoute, Request
from skerry.wire.identity import Identity
from skerry_lab.cloud import Cloud
from skerry_lab.messages.blobs import Blobs
from skerry_lab.messages.uploads import CONTAINER, LIFETIME, Upload
from skerry_lab.registry.errors import HubError, bad_argument
from skerry_lab.registry.policies import Right
from skerry_lab.registry.requests import check_version, json_body
from skerry_lab.store import Store

_BLOCK = re.compile(rb"<(?:Latest|Uncommitted|Committed)>\s*([^<\s]+)\s*<")
_FOLDER = "files"


class FilesApi:
    """Handlers, on the loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._blobs = Blobs(store.data_dir / _FOLDER)

    def routes(self) -> list[LiveRoute]:
        files, file = "/devices/{device_id}/files", f"/{CONTAINER}/{{device_id}}/{{name*}}"
        return [
            LiveRoute("POST", files, self.begin),
            LiveRoute("POST", f"{files}/notifications", self.finish),
            LiveRoute("PUT", file, self.put),
            LiveRoute("GET", file, self.get),
        ]

    async def begin(self, request: Request, device_id: str) -> Answer:
        check_version(request)
        now = self._store.cloud.clock.now()

        def work(cloud: Cloud) -> tuple[Upload, str, list[tuple[str, str]]]:
            cloud.access.device(request, Identity(device_id))
            name = json_body(request).get("blobName")
            if not isinstance(name, str):
                raise bad_argument(f"blobName is {name!r}, expected a text")
            ended = cloud.uploads.forget(now)
            return cloud.uploads.begin(device_id, name, now), cloud.names.own, ended

        upload, host, ended = await self._store.ado(work)
        for file in ended:
            await asyncio.to_thread(self._blobs.drop_blocks, *file)
        expiry = quote((now + LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ"), safe="")
        return Answer.json(
            {
                "correlationId": upload.correlation_id,
                "hostName": host,
                "containerName": CONTAINER,
                "blobName": f"{device_id}/{upload.name}",
                "sasToken": f"?sv=2018-03-28&sr=b&sig={upload.secret}&se={expiry}&sp=rw",
            }
        )

    async def finish(self, request: Request, device_id: str) -> Answer:
        check_version(request)
        body = json_body(request)
        correlation_id, is_success = body.get("correlationId"), body.get("isSuccess")
        if not isinstance(correlation_id, str) or not isinstance(is_success, bool):
            raise bad_argument("expected correlationId, a text, and isSuccess, true or false")

        def find(cloud: Cloud) -> Upload:
            cloud.access.device(request, Identity(device_id))
            return cloud.uploads.get(device_id, correlation_id)

        upload = await self._store.ado(find)
        await asyncio.to_thread(self._blobs.drop_blocks, device_id, upload.name)
        size = await asyncio.to_thread(self._blobs.size, device_id, upload.name)
        now = self._store.cloud.clock.now()
        await self._store.ado(
            lambda cloud: cloud.uploads.finish(
                upload, cloud.names.own, size if is_success else None, now
            )
        )
        return Answer(204)

    async def put(self, request: Request, device_id: str, name: str) -> Answer:
        now = self._store.cloud.clock.now()
        secret = request.query.get("sig", "")
        await self._store.ado(lambda cloud: cloud.uploads.check(device_id, name, secret, now))
        match request.query.get("comp"):
            case None:
                if request.headers.get("x-ms-blob-type", "") != "BlockBlob":
                    raise bad_argument("x-ms-blob-type has to be BlockBlob")
                await asyncio.to_thread(self._blobs.put, device_id, name, request.body)
            case "block":
                block_id = request.query.get("blockid", "")
                await asyncio.to_thread(
                    self._blobs.put_block, device_id, name, block_id, request.body
                )
            case "blocklist":
                blocks = [found.decode("latin-1") for found in _BLOCK.findall(request.body)]
                await asyncio.to_thread(self._blobs.commit, device_id, name, blocks)
            case other:
                raise bad_argument(f"comp is {other!r}, expected block or blocklist")
        modified = format_datetime(now, usegmt=True)
        return Answer(201, b"", {"etag": f'"{now.timestamp()}"', "last-modified": modified})

    async def get(self, request: Request, device_id: str, name: str) -> Answer:
        await self._store.ado(lambda cloud: cloud.access.policy(request, Right.SERVICE_CONNECT))
        data = await asyncio.to_thread(self._blobs.get, device_id, name)
        if data is None:
            raise HubError(404, "BlobNotFound", f"device {device_id!r} has no file {name[:64]!r}")
        return Answer(200, data, {"content-type": "application/octet-stream"})
