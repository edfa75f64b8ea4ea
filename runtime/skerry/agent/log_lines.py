"""A module's output, line by line: chosen, and put into the form that was asked for.

Source: azure-iot-edge.md §5.6. A line has, all optional: the engine's time, `<n>` (the level, 6
without), a time of its own, then text. Nothing holds more than one line of at most 1 MiB.
"""

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from skerry.agent.log_request import Content, Encoding, Form, Selection
from skerry.base.frames import STDERR, split_frames

_MAX_LINE = 1024 * 1024
_GZIP_BITS = 31
_DEFAULT_LEVEL = 6
_LINE = re.compile(
    r"(?:(?P<engine>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) )?"
    r"(?:<(?P<level>[0-7])>)?"
    r"\s*(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [+-]\d\d:\d\d)?"
    r"\s*(?P<text>.*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Source:
    """Whose log it is, as its records say."""

    hub: str
    device: str
    module: str


def render(
    chunks: Iterable[bytes], selection: Selection, form: Form, source: Source
) -> Iterator[bytes]:
    """Yield a log in the form asked for, from the engine's frames."""
    lines = _lines(chunks)
    is_json = form.content is Content.JSON
    parts = _records(lines, selection, source) if is_json else _texts(lines, selection)
    return _packed(parts) if form.encoding is Encoding.GZIP else parts


def _lines(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield stream and line; the engine cuts long lines into frames."""
    held: dict[int, bytes] = {}
    for stream, data in split_frames(chunks):
        *whole, rest = (held.pop(stream, b"") + data).split(b"\n")
        for line in whole:
            yield stream, line + b"\n"
        if len(rest) >= _MAX_LINE:
            yield stream, rest + b"\n"
        elif rest:
            held[stream] = rest
    for stream in sorted(held):
        yield stream, held[stream]


def _texts(lines: Iterable[tuple[int, bytes]], selection: Selection) -> Iterator[bytes]:
    every = selection.level is None and selection.pattern is None
    for _, line in lines:
        if every or _matches(_parsed(line), selection):
            yield line


def _records(
    lines: Iterable[tuple[int, bytes]], selection: Selection, source: Source
) -> Iterator[bytes]:
    before = b"["
    for stream, line in lines:
        parsed = _parsed(line)
        if _matches(parsed, selection):
            record = {
                "iothub": source.hub,
                "device": source.device,
                "id": source.module,
                "stream": "stderr" if stream == STDERR else "stdout",
                "loglevel": _level(parsed),
                "text": parsed["text"],
                "timestamp": parsed["time"] or parsed["engine"],
            }
            yield before + json.dumps(record, separators=(",", ":")).encode()
            before = b","
    yield b"[]" if before == b"[" else b"]"


def _packed(parts: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=_GZIP_BITS)
    for part in parts:
        if packed := packer.compress(part):
            yield packed
    yield packer.flush()


def _parsed(line: bytes) -> re.Match[str]:
    found = _LINE.fullmatch(line.decode(errors="replace").rstrip("\r\n"))
    assert found is not None, "every part of the expression may be absent"  # noqa: S101
    return found


def _level(parsed: re.Match[str]) -> int:
    return int(parsed["level"] or _DEFAULT_LEVEL)


def _matches(parsed: re.Match[str], selection: Selection) -> bool:
    if selection.level is not None and selection.level != _level(parsed):
        return False
    return selection.pattern is None or selection.pattern.search(parsed["text"]) is not None
