"""An edge hub as a process of its own, to be loaded and killed.

Argument: JSON of {"folder", "certificate", "hub", "names": [host…]}, and either "upstream":
{"port", "root", "key"} of a lab on this machine, or "devices": [id…] with one "key" (base64) and
"routes" for a hub whose cloud is away. Writes its MQTT port, and ends when its input does.
"""

import asyncio
import base64
import json
import ssl
import sys
from pathlib import Path
from typing import Any

from harness.lab import make_token
from skerry.base.clock import SystemClock
from skerry.base.https import HttpsClient, trust_context
from skerry.base.log import get_logger
from skerry.heads.tls import bound_buffers, server_context
from skerry.hub.cloud.link import Upstream
from skerry.hub.cloud.scope_pages import fetch_scope
from skerry.hub.errors import OfflineError
from skerry.hub.hub import Hub, HubSettings
from skerry.hub.scope import Client, Proof, Scope
from skerry.hub.server import ServerSettings
from skerry.hub.store.model import StoreSettings
from skerry.hub.store.store import Store
from skerry.wire.identity import Identity
from skerry.wire.sas import FreshToken

DEVICE = "edge"
_TOKEN_SECONDS = 3600.0


class Cloud:
    """The lab that a hub is told of, or none."""

    def __init__(self, asked: dict[str, Any]) -> None:
        found = asked.get("upstream")
        self._hub = asked["hub"]
        self._key = base64.b64decode(found["key"]) if found else b""
        self._root = Path(found["root"]).read_text() if found else ""
        self.upstream = Upstream(
            "localhost",
            found["port"] if found else 1,
            self._hub,
            DEVICE,
            self.token,
            lambda: ssl.create_default_context(cadata=self._root),
        )

    async def token(self) -> FreshToken:
        if not self._key:
            raise OfflineError("there is no cloud")
        now = SystemClock().now().timestamp()
        audience = f"{self._hub}/devices/{DEVICE}/modules/$edgeHub"
        text = make_token(audience, self._key, now + _TOKEN_SECONDS)
        return FreshToken(text, now + _TOKEN_SECONDS / 2)

    async def scope(self) -> Scope:
        token = (await self.token()).text
        https = HttpsClient(trust_context([self._root]), timeout_seconds=5.0)
        return await asyncio.to_thread(fetch_scope, https, f"https://{self._hub}", DEVICE, token)


async def main(asked: dict[str, Any]) -> None:
    """Serve until the standard input ends."""
    bound_buffers()
    clock, log, cloud = SystemClock(), get_logger("hub"), Cloud(asked)
    store = Store(Path(asked["folder"]), StoreSettings(min_free_bytes=0), clock, log)
    store.open()
    if "devices" in asked:
        key = base64.b64decode(asked["key"])
        identities = map(Identity.parse, asked["devices"])
        scope = Scope().with_clients(Client(one, Proof.SAS, (key,)) for one in identities)
        store.documents.put("hub", "scope", scope.to_bytes()).result()
    hub = Hub(
        HubSettings(DEVICE, frozenset(asked["names"]), ServerSettings("127.0.0.1", 0, 0)),
        store,
        cloud.upstream,
        cloud.scope,
        server_context(Path(asked["certificate"])),
        list,
        clock,
        log,
    )
    if "routes" in asked:
        forward = {"timeToLiveSecs": -1}
        hub.use(
            {
                "schemaVersion": "1.1",
                "routes": asked["routes"],
                "storeAndForwardConfiguration": forward,
            }
        )
    await hub.start()
    sys.stdout.write(f"{hub.server.mqtt_port}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await hub.stop()
    store.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
