"""A WebSocket's server: pieces change nothing, and nothing grows without bound."""

from skerry.wire.websocket_client import WebSocketClient, WebSocketError

_ACCEPT = b"Sec-WebSocket-Accept: fWqaG1+MrNNJFCD8bf/FloL+yTY="

ALLOWED = (WebSocketError,)
_HEAD = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: mqtt\r\n%s\r\n\r\n" % _ACCEPT
SEEDS = (
    _HEAD + b"\x82\x02\x20\x00\x89\x01x\x88\x02\x03\xe8",
    _HEAD + b"\x82\x7e\x01\x00" + b"y" * 256 + b"\x02\x01a\x80\x01b",
    b"HTTP/1.1 403 Forbidden\r\n\r\n",
)


def one(data: bytes) -> None:
    """Read the bytes at once and one by one; both give the same and the same verdict."""
    whole, replies, problem = _read([data])
    found = _read([data[index : index + 1] for index in range(len(data))])
    assert found[:2] == (whole, replies)
    assert str(found[2]) == str(problem)
    if problem is not None:
        raise problem


def _read(pieces: list[bytes]) -> tuple[bytes, bytes, WebSocketError | None]:
    client = WebSocketClient("hub", lambda size: b"k" * size)
    found, replies = b"", b""
    try:
        for piece in pieces:
            for part in client.feed(piece):
                found += part
            replies += client.replies()
    except WebSocketError as error:
        return found, replies + client.replies(), error
    return found, replies, None
