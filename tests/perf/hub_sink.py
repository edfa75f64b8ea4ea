"""A module that acknowledges what comes to its inputs, as fast as it can, and counts it.

Argument: JSON of {"port", "root", "token", "filter"}. Writes a line when it listens, and the count
at the end of its standard input.
"""

import asyncio
import json
import ssl
import sys
from typing import Any

from skerry.wire.mqtt import Connect, PubAck, Publish, Reader, Subscribe, encode
from skerry.wire.topics import user_name


async def main(asked: dict[str, Any]) -> None:
    """Listen until the standard input ends."""
    context = ssl.create_default_context(cafile=asked["root"])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", asked["port"], ssl=context, server_hostname="localhost"
    )
    name = user_name("hub", "edge/sink", "2021-04-12")
    writer.write(encode(Connect("edge/sink", name, asked["token"].encode())))
    writer.write(encode(Subscribe(1, ((asked["filter"], 1),))))
    count, packets = 0, Reader()

    async def take() -> None:
        nonlocal count
        while data := await reader.read(65536):
            answers = []
            for packet in packets.feed(data):
                if isinstance(packet, Publish):
                    count += 1
                    if packet.packet_id is not None:
                        answers.append(encode(PubAck(packet.packet_id)))
            writer.write(b"".join(answers))

    task = asyncio.create_task(take())
    sys.stdout.write("listens\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    task.cancel()
    sys.stdout.write(f"{count}\n")


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
