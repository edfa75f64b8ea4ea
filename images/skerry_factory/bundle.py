"""Tar archives of named files, whose bytes depend on names and content alone.

Members are sorted, behind the folders that lead to them; owner root, one time stamp.
"""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from skerry_factory.epoch import SOURCE_DATE_EPOCH

Members = Mapping[str, bytes | Path]
"""Path in the archive, and the content or the file that has it."""


def write_bundle(members: Members, stream: BinaryIO) -> None:
    """Write an archive; a file is read piece by piece and may be larger than the memory."""
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        folders = {str(parent) for name in members for parent in PurePosixPath(name).parents}
        for folder in sorted(folders - {"."}):
            info = tarfile.TarInfo(folder)
            info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, SOURCE_DATE_EPOCH
            archive.addfile(info)
        for name in sorted(members):
            _add(archive, name, members[name])


def _add(archive: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = 0o644, SOURCE_DATE_EPOCH
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as stream:
        info.size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        archive.addfile(info, stream)
