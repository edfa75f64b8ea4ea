"""Files that devices uploaded, and the blocks of those that are on their way.

    DIR/files/                      0700
      DEVICE/NAME                   0600: a file that is whole; both names by `id_file_name`
      DEVICE/.NAME.blocks/DIGEST    0600: blocks by the SHA-256 of their id, gone once committed

A file is written under another name and renamed: a kill leaves the former one or the new one.
"""

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from skerry.base.files import id_file_name, write_atomic
from skerry_lab.registry.errors import HubError, bad_argument

MAX_FILE_BYTES = 256 * 1024 * 1024


class Blobs:
    """The folder of files; its methods block."""

    def __init__(self, folder: Path, max_file_bytes: int = MAX_FILE_BYTES) -> None:
        self._folder = folder
        self._max_file_bytes = max_file_bytes

    def put(self, device_id: str, name: str, data: bytes) -> None:
        """Store a whole file."""
        write_atomic(self._path(device_id, name), data, mode=0o600)

    def get(self, device_id: str, name: str) -> bytes | None:
        """Return a file, None without one."""
        try:
            return self._path(device_id, name).read_bytes()
        except FileNotFoundError:
            return None

    def size(self, device_id: str, name: str) -> int:
        """Return how many bytes a file has, 0 without one."""
        try:
            return self._path(device_id, name).stat().st_size
        except FileNotFoundError:
            return 0

    def put_block(self, device_id: str, name: str, block_id: str, data: bytes) -> None:
        """Store a block of a file. Raises: HubError 413."""
        folder = self._blocks(device_id, name)
        folder.mkdir(mode=0o700, exist_ok=True)
        size = len(data) + sum(block.stat().st_size for block in folder.iterdir())
        if size > self._max_file_bytes:
            raise HubError(
                413, "RequestBodyTooLarge", f"the file has more than {self._max_file_bytes} bytes"
            )
        write_atomic(folder / _digest(block_id), data, mode=0o600)

    def commit(self, device_id: str, name: str, block_ids: Sequence[str]) -> None:
        """Make a file of its blocks. Raises: HubError 400 when one is missing."""
        folder = self._blocks(device_id, name)
        folder.mkdir(mode=0o700, exist_ok=True)
        blocks = [folder / _digest(block_id) for block_id in block_ids]
        if not all(block.is_file() for block in blocks):
            raise bad_argument("the list names a block that was not uploaded")
        whole = folder / "whole"
        with whole.open("wb") as file:
            for block in blocks:
                with block.open("rb") as part:
                    shutil.copyfileobj(part, file)
            file.flush()
            os.fsync(file.fileno())
        whole.chmod(0o600)
        whole.replace(self._path(device_id, name))
        shutil.rmtree(folder)

    def drop_blocks(self, device_id: str, name: str) -> None:
        """Remove what was uploaded of a file that never became whole."""
        shutil.rmtree(self._blocks(device_id, name), ignore_errors=True)

    def _path(self, device_id: str, name: str) -> Path:
        folder = self._folder / id_file_name(device_id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder / id_file_name(name)

    def _blocks(self, device_id: str, name: str) -> Path:
        path = self._path(device_id, name)
        return path.with_name(f".{path.name}.blocks")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
