"""An edge hub as a process, with a scope that it is told and a cloud that is away.

Argument: JSON of {"folder", "certificate", "key" (base64), "devices": [id…]}. Writes the MQTT port,
and ends when its standard input does.
"""

import asyncio
import base64
import json
import ssl
import sys
from pathlib import Path
from typing import Any

from skerry.base.clock import SystemClock
from skerry.base.log import get_logger
from skerry.heads.tls import bound_buffers, server_context
from skerry.hub.cloud.link import Token, Upstream
from skerry.hub.errors import OfflineError
from skerry.hub.hub import Hub, HubSettings
from skerry.hub.scope import Client, Proof, Scope
from skerry.hub.server import ServerSettings
from skerry.hub.store.model import StoreSettings
from skerry.hub.store.store import Store
from skerry.wire.identity import Identity

ROUTES = {"in": 'FROM /messages/* INTO BrokeredEndpoint("/modules/sink/inputs/in1")'}


async def no_token() -> Token:
    raise OfflineError("there is no cloud")


async def no_scope() -> Scope:
    raise OfflineError("there is no cloud")


async def main(asked: dict[str, Any]) -> None:
    """Serve until the standard input ends."""
    bound_buffers()
    clock, log = SystemClock(), get_logger("hub")
    store = Store(Path(asked["folder"]), StoreSettings(min_free_bytes=0), clock, log)
    store.open()
    key = base64.b64decode(asked["key"])
    scope = Scope().with_clients(
        Client(Identity.parse(one), Proof.SAS, (key,)) for one in asked["devices"]
    )
    store.documents.put("hub", "scope", scope.to_bytes()).result()

    hub = Hub(
        HubSettings("edge", frozenset({"hub", "localhost"}), ServerSettings("127.0.0.1", 0, 0)),
        store,
        Upstream("127.0.0.1", 1, "hub", "edge", no_token, ssl.create_default_context),
        no_scope,
        server_context(Path(asked["certificate"])),
        list,
        clock,
        log,
    )
    forward = {"timeToLiveSecs": -1}
    hub.use({"schemaVersion": "1.1", "routes": ROUTES, "storeAndForwardConfiguration": forward})
    await hub.start()
    sys.stdout.write(f"{hub.server.mqtt_port}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await hub.stop()
    store.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
