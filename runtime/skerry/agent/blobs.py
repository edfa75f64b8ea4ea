"""Uploads to a container of Azure Blob Storage, which a SAS URL gives access to.

Invariants
- A blob appears whole or not at all: its blocks are committed after the last one has arrived.
- One block of 1 MiB is in memory, whatever the size of the blob.
- The URL is a secret: no message and no file holds it.
"""

import base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from urllib.parse import quote, urlsplit, urlunsplit

from skerry.agent.errors import AgentError, MethodError
from skerry.base.https import HttpsAnswer, HttpsClient, HttpsError, HttpsFailure

_BLOCK_BYTES = 1024 * 1024
_MAX_BLOCKS = 4096
_RETRIES = 2
_LEAST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 5.0, 20.0
_VERSION = "2019-02-02"
_CREATED = 201
_PASSING_STATUSES = (408, 429)
_PASSING = (HttpsFailure.UNREACHABLE, HttpsFailure.TIMEOUT)
_UPSTREAM = "$upstream"


class UploadError(AgentError):
    """The storage does not take a blob."""


@dataclass(frozen=True)
class BlobContainer:
    """Where blobs go; made by `container_at`."""

    url: str

    def blob(self, name: str) -> str:
        """Return the URL of a blob."""
        parts = urlsplit(self.url)
        path = f"{parts.path.rstrip('/')}/{quote(name)}"
        return urlunsplit(parts._replace(path=path))


def container_at(sas_url: object, gateway: str) -> BlobContainer:
    """Return the container of a SAS URL; `$upstream` as its host is the parent gateway.

    Raises: MethodError; the URL is not quoted.
    """
    expected = "expected https://account/container?signature"
    if not isinstance(sas_url, str):
        raise MethodError(f"sasUrl is missing, {expected}")
    if sas_url.lower().startswith(f"https://{_UPSTREAM}"):
        if not gateway:
            raise MethodError("sasUrl names $upstream, but this device has no parent")
        sas_url = f"https://{gateway}{sas_url[len('https://') + len(_UPSTREAM) :]}"
    try:
        parts = urlsplit(sas_url)
        is_usable = parts.scheme == "https" and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or not parts.query or not parts.path.strip("/"):
        raise MethodError(f"sasUrl cannot be used, {expected}")
    return BlobContainer(sas_url)


class Uploader:
    """Puts blobs into containers."""

    def __init__(
        self,
        connect: Callable[[], HttpsClient],
        pause: Callable[[float], object],
        random: Random | None = None,
    ) -> None:
        """`connect` is asked for each blob: the roots that are trusted may have changed."""
        self._connect = connect
        self._pause = pause
        self._random = random or Random()  # noqa: S311 - spreads load, keeps no secret

    def upload(self, container: BlobContainer, name: str, parts: Iterable[bytes]) -> None:
        """Upload one blob. Raises: UploadError, and what `parts` raises."""
        client, url = self._connect(), container.blob(name)
        blocks: list[str] = []
        for data in _blocks(parts):
            if len(blocks) == _MAX_BLOCKS:
                raise UploadError(f"{name} has more than {_MAX_BLOCKS} MiB")
            block = base64.b64encode(f"{len(blocks):08}".encode()).decode()
            self._put(client, f"{url}&comp=block&blockid={quote(block, safe='')}", data)
            blocks.append(block)
        listed = "".join(f"<Latest>{block}</Latest>" for block in blocks)
        head = '<?xml version="1.0" encoding="utf-8"?>'
        self._put(
            client, f"{url}&comp=blocklist", f"{head}<BlockList>{listed}</BlockList>".encode()
        )

    def _put(self, client: HttpsClient, url: str, data: bytes) -> None:
        for attempt in range(_RETRIES + 1):
            if attempt:
                self._pause(self._random.uniform(_LEAST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS))
            is_last = attempt == _RETRIES
            try:
                answer = client.request("PUT", url, headers={"x-ms-version": _VERSION}, body=data)
            except HttpsError as error:
                if is_last or error.kind not in _PASSING:
                    raise UploadError(str(error)) from error
                continue
            if answer.status == _CREATED:
                return
            if is_last or not (answer.status >= 500 or answer.status in _PASSING_STATUSES):
                raise UploadError(f"the storage answers {answer.status}{_code(answer)}")


def _code(answer: HttpsAnswer) -> str:
    code = answer.headers.get("x-ms-error-code", "")
    return f" {code}" if code else ""


def _blocks(parts: Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for part in parts:
        held += part
        while len(held) >= _BLOCK_BYTES:
            yield bytes(held[:_BLOCK_BYTES])
            del held[:_BLOCK_BYTES]
    if held:
        yield bytes(held)
