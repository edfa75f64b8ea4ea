"""The name server and the time server of a site, as one program: DNS (RFC 1035) and NTP (RFC 5905).

    python site.py ADDRESS NAMES     NAMES is a JSON object of host names and IPv4 addresses

It answers on UDP ports 53 and 123 of the address until it is ended. A name that is not in NAMES,
which is read anew for each question, does not exist. The time is this
machine's, moved by the seconds in the file NAMES.offset if there is one.
"""

import json
import selectors
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

NTP_EPOCH = 2_208_988_800
TYPE_A = 1
REFUSED_NAME = 3


def dns_answer(query: bytes, names: dict[str, str]) -> bytes:
    """Answer one question of class IN."""
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
        at += 1 + query[at]
    question = query[12 : at + 5]
    (kind,) = struct.unpack(">H", query[at + 1 : at + 3])
    address = names.get(".".join(labels).lower())
    records = b""
    if address is not None and kind == TYPE_A:
        data = socket.inet_aton(address)
        records = struct.pack(">HHHIH", 0xC00C, TYPE_A, 1, 1, len(data)) + data
    # an answer, authoritative, recursion wanted and offered
    flags = 0x8580 | (0 if address is not None else REFUSED_NAME)
    return query[:2] + struct.pack(">HHHHH", flags, 1, bool(records), 0, 0) + question + records


def ntp_answer(request: bytes, offset: float) -> bytes:
    """Answer a client with the time, moved by `offset` seconds."""
    now = time.time() + offset
    stamp = struct.pack(">II", int(now) + NTP_EPOCH, int(now % 1 * 2**32))
    # version 4, server; stratum 1
    head = bytes([0x24, 1, request[2], 0xEC]) + bytes(8) + b"TEST" + stamp
    return head + request[40:48] + stamp + stamp


def serve(address: str, names: Path) -> None:
    watch = selectors.DefaultSelector()
    for port in (53, 123):
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind((address, port))
        watch.register(listener, selectors.EVENT_READ, port)
    offset = names.with_name(f"{names.name}.offset")
    while True:
        for key, _ in watch.select():
            link: Any = key.fileobj
            data, peer = link.recvfrom(4096)
            if key.data == 53:
                link.sendto(dns_answer(data, json.loads(names.read_text())), peer)
            else:
                moved = float(offset.read_text()) if offset.exists() else 0.0
                link.sendto(ntp_answer(data, moved), peer)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
