"""The key that the hub's documents are encrypted with: made once, kept encrypted by edged.

    document hub/key    {"iv": base64, "key": base64 of what edged made of 32 random bytes}

Invariants
- In the clear the key is in memory only; edged decrypts it for this module of this device alone
  (keyd's `iotedge_master_encryption_id`), so that a disk that is taken away tells nothing.
- A key that edged cannot decrypt any more is replaced: what it had encrypted is fetched anew.
"""

import asyncio
import base64
import json
from collections.abc import Callable

from skerry.base.client import ApiError
from skerry.base.errors import SkerryError
from skerry.base.log import Logger
from skerry.hub.store.documents import KEY_BYTES, Documents
from skerry.module.workload import WorkloadClient

_KIND, _KEY = "hub", "key"
_IV_BYTES = 16
_RETRY_SECONDS = 5.0
_BAD = 400


async def open_documents(
    documents: Documents, workload: WorkloadClient, random: Callable[[int], bytes], log: Logger
) -> None:
    """Have documents encrypted from now on, however long edged lets wait for it."""
    while True:
        try:
            documents.use_key(await _key(documents, workload, random, log))
        except SkerryError as error:
            log.warning("the key of the hub's documents is not there yet", reason=error)
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


async def _key(
    documents: Documents, workload: WorkloadClient, random: Callable[[int], bytes], log: Logger
) -> bytes:
    kept = documents.get(_KIND, _KEY)
    if kept is not None:
        try:
            found = json.loads(kept)
            iv, sealed = (base64.b64decode(found[name], validate=True) for name in ("iv", "key"))
            key = await asyncio.to_thread(workload.decrypt, iv, sealed)
        except ApiError as error:
            if error.status != _BAD:
                raise
            log.error("the key of the hub's documents cannot be used any more", reason=error)
        except (ValueError, TypeError, KeyError) as error:
            log.error("the key of the hub's documents is damaged", reason=error)
        else:
            if len(key) == KEY_BYTES:
                return key
            log.error("the key of the hub's documents has another length", octets=len(key))
    key, iv = random(KEY_BYTES), random(_IV_BYTES)
    made = await asyncio.to_thread(workload.encrypt, iv, key)
    texts = {"iv": base64.b64encode(iv).decode(), "key": base64.b64encode(made).decode()}
    await asyncio.wrap_future(documents.put(_KIND, _KEY, json.dumps(texts).encode()))
    return key
