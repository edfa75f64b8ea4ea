"""The zip of a support bundle, written as a stream: bounded in size and in memory.

Invariants
- Nothing gets in but through the scrubber: there are two ways, `document` and `log`.
- A part that cannot be had is an entry of `manifest.json` with its reason; the others go on.
- Of a log that is too large the end is kept, which is the newest. All parts together stay below
  the limit of the whole.
- An error of the output (`OutputError`) ends the bundle: half a bundle is none.
"""

import itertools
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import BinaryIO

from skerry.base.errors import SkerryError
from skerry.base.program import describe_os_error
from skerry.bundle.documents import clean
from skerry.bundle.scrub import Scrubber

MANIFEST = "manifest.json"
_MANIFEST_BYTES = 256 * 1024
"""Kept free for the manifest, of a bundle's size."""


class OutputError(SkerryError):
    """The bundle cannot be written where it should go."""


@dataclass(frozen=True)
class Limits:
    """In bytes before compression."""

    log_bytes: int = 128 * 1024 * 1024
    total_bytes: int = 512 * 1024 * 1024


@dataclass(frozen=True)
class Part:
    """What became of one part; `state` is whole, cut, failed or left out."""

    name: str
    state: str
    bytes: int
    reason: str = ""


class Archive:
    """Writes parts one after another to a file that need not be seekable."""

    def __init__(
        self, output: BinaryIO, scrubber: Scrubber, limits: Limits, created: datetime
    ) -> None:
        self._zip = zipfile.ZipFile(_Output(output), "w", zipfile.ZIP_DEFLATED, compresslevel=6)  # type: ignore[call-overload]
        self._scrubber = scrubber
        self._limits = limits
        self._created = created
        self._left = max(limits.total_bytes - _MANIFEST_BYTES, 0)
        self.parts: list[Part] = []

    def document(self, name: str, produce: Callable[[], object]) -> None:
        """Add a document as JSON; it is masked by its keys."""
        try:
            found = clean(produce(), self._scrubber)
        except Exception as error:  # the edge of a part: the others have to come
            self._note(name, "failed", 0, reason_of(error))
            return
        data = (json.dumps(found, indent=1, ensure_ascii=False, default=str) + "\n").encode()
        if len(data) > self._left:
            self._note(name, "left out", 0, "the bundle has reached its size")
            return
        self._write(name, iter([data]))
        self._note(name, "whole", len(data))

    def log(self, name: str, produce: Callable[[], Iterator[bytes]]) -> None:
        """Add a text; `produce` is called once to measure it and once more to read it."""
        limit = min(self._limits.log_bytes, self._left)
        if limit <= 0:
            self._note(name, "left out", 0, "the bundle has reached its size")
            return
        source = _Source(produce)
        surplus = max(source.measure() - limit, 0)
        blocks = self._scrubber.blocks(source.read(surplus))
        # masks may be longer than what they hide
        count = _Counter(limit)
        first = next(blocks, None)
        if first is not None:
            self._write(name, count.within(itertools.chain([first], blocks)))
        if source.problem:
            self._note(name, "failed", count.bytes, source.problem)
        elif surplus or count.exceeded:
            self._note(name, "cut", count.bytes, f"only the last {limit} bytes were kept")
        else:
            self._note(name, "whole", count.bytes)

    def left_out(self, name: str, reason: str) -> None:
        """Note a part that was not asked for, or cannot be had here."""
        self._note(name, "left out", 0, reason)

    def finish(self, about: dict[str, object]) -> None:
        """Write the manifest and end the archive."""
        manifest = {
            **about,
            "created": self._created.isoformat(timespec="seconds"),
            "complete": all(part.state in {"whole", "cut"} for part in self.parts),
            "parts": [asdict(part) for part in self.parts],
        }
        text = self._scrubber.text(json.dumps(manifest, indent=1, ensure_ascii=False))
        self._write(MANIFEST, iter([text.encode() + b"\n"]))
        self._zip.close()

    def abandon(self) -> None:
        """End without a directory: what was written is no archive."""
        self._zip.fp = None

    def _write(self, name: str, blocks: Iterator[bytes]) -> None:
        entry = zipfile.ZipInfo(name, self._created.timetuple()[:6])
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o600 << 16
        with self._zip.open(entry, "w", force_zip64=True) as member:
            for block in blocks:
                member.write(block)

    def _note(self, name: str, state: str, size: int, reason: str = "") -> None:
        self.parts.append(Part(name, state, size, self._scrubber.text(reason)))
        self._left = max(self._left - size, 0)


class _Output:
    """The output file; what it refuses is told apart from what a part refuses."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        try:
            self._file.write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(
                f"the bundle cannot be written: {describe_os_error(error)}"
            ) from error
        return len(data)

    def flush(self) -> None:
        self._file.flush()


class _Source:
    """One text that is read twice; `problem` says why it broke off."""

    def __init__(self, produce: Callable[[], Iterable[bytes]]) -> None:
        self._produce = produce
        self.problem = ""

    def measure(self) -> int:
        return sum(len(chunk) for chunk in self._chunks())

    def read(self, skip: int) -> Iterator[bytes]:
        """Yield the text without its first `skip` bytes, beginning with a whole line."""
        if self.problem:
            # what the first reading could not do is not tried again: it may have taken long
            return
        torn = skip > 0
        for chunk in self._chunks():
            kept = chunk[skip:]
            skip = max(skip - len(chunk), 0)
            if torn and kept:
                _, newline, kept = kept.partition(b"\n")
                torn = not newline
            if kept:
                yield kept

    def _chunks(self) -> Iterator[bytes]:
        try:
            yield from self._produce()
        except Exception as error:  # the edge of a part: the others have to come
            self.problem = reason_of(error)


class _Counter:
    """Lets blocks through up to a number of bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.bytes = 0
        self.exceeded = False

    def within(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            if self.bytes + len(block) > self._limit:
                self.exceeded = True
                return
            self.bytes += len(block)
            yield block


def reason_of(error: Exception) -> str:
    """Return why a part failed, in one line."""
    if isinstance(error, OSError):
        return describe_os_error(error)
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, SkerryError) else f"{type(error).__name__}: {text}"
