"""Docker's framing of a container's output: 8 bytes of header, then the data.

Header: stream (1 standard output, 2 standard error), three zeros, length as 32 bits big-endian. A
container with a terminal has one unframed stream; readers of the management API expect frames, so
`framed` makes them.
"""

import struct
from collections.abc import Iterable, Iterator

STDOUT = 1
STDERR = 2
_HEADER = struct.Struct(">BxxxL")


def frame(stream: int, data: bytes) -> bytes:
    """Return one frame."""
    return _HEADER.pack(stream, len(data)) + data


def framed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Wrap an unframed stream as standard output."""
    for chunk in chunks:
        if chunk:
            yield frame(STDOUT, chunk)


def split_frames(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield (stream, data) of frames that arrive in chunks of any size.

    A stream that ends within a frame yields what had arrived of it.
    """
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= _HEADER.size:
            stream, length = _HEADER.unpack_from(buffer)
            end = _HEADER.size + length
            if len(buffer) < end:
                break
            yield stream, bytes(buffer[_HEADER.size : end])
            del buffer[:end]
    if len(buffer) > _HEADER.size:
        yield buffer[0], bytes(buffer[_HEADER.size :])
