"""A container of Azure Blob Storage: blocks and block lists, over TLS on loopback."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from fakes.https_server import Served, https_server

SIGNATURE = "sv=2019-02-02&sig=secret%2Fsignature"
_ANSWER = "HTTP/1.1 {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass
class BlobStorage:
    """What was committed, by blob; the answers in `refusals` come first."""

    served: Served | None = None
    blobs: dict[str, bytes] = field(default_factory=dict)
    blocks: dict[tuple[str, str], bytes] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        assert self.served is not None
        return f"https://localhost:{self.served.port}/logs?{SIGNATURE}"

    def answer(self, request: bytes) -> bytes:
        """Answer one request."""
        if self.refusals:
            return _ANSWER.format(self.refusals.pop(0)).encode()
        head, _, body = request.partition(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        url = urlsplit(target)
        query, blob = parse_qs(url.query), unquote(url.path).removeprefix("/logs/")
        if method != "PUT" or query.get("sig") != ["secret/signature"]:
            return _ANSWER.format("403 Forbidden\r\nx-ms-error-code: AuthFailed").encode()
        if query["comp"] == ["block"]:
            self.blocks[blob, query["blockid"][0]] = body
        else:
            listed = re.findall(r"<Latest>([^<]*)</Latest>", body.decode())
            self.blobs[blob] = b"".join(self.blocks.pop((blob, block)) for block in listed)
        return _ANSWER.format("201 Created").encode()


@contextmanager
def blob_storage(folder: Path) -> Iterator[BlobStorage]:
    """Serve a container that takes what has the right signature."""
    storage = BlobStorage()
    with https_server(folder, storage.answer) as served:
        storage.served = served
        yield storage
