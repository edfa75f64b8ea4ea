"""Asks the cloud for the device's scope, page by page (azure-iot-edge.md §6.6). May block."""

import json
from collections.abc import Mapping
from urllib.parse import quote

from skerry.base.https import HttpsClient
from skerry.hub.errors import ScopeError
from skerry.hub.scope import Client, Scope, read_clients

_API_VERSION = "2018-08-30-preview"
_PAGE = 10
_MOST_PAGES = 10_000
_OK = 200


def fetch_scope(https: HttpsClient, base: str, device_id: str, token: str) -> Scope:
    """Return everyone below an edge device. `base` is `https://host[:port]`.

    Raises: HttpsError, ScopeError for an answer that cannot be used.
    """
    link: str | None = (
        f"/devices/{quote(device_id, safe='')}/modules/$edgeHub/devicesAndModulesInDeviceScope"
        f"?deviceCount={_PAGE}&continuationToken=&api-version={_API_VERSION}"
    )
    found: list[Client] = []
    for _ in range(_MOST_PAGES):
        if link is None:
            return Scope().with_clients(found)
        answer = https.request("GET", base + link, headers={"Authorization": token})
        if answer.status != _OK:
            said = answer.body.decode(errors="replace")[:200]
            raise ScopeError(f"the cloud does not give the scope: status {answer.status}, {said}")
        page = _page(answer.body)
        found += read_clients(page.get("devices"))
        found += read_clients(page.get("modules"))
        following = page.get("continuationLink")
        link = following if isinstance(following, str) and following else None
    raise ScopeError(f"the scope has more than {_MOST_PAGES} pages")


def _page(body: bytes) -> Mapping[str, object]:
    try:
        page = json.loads(body)
    except ValueError as error:
        raise ScopeError(f"a page of the scope is not JSON: {error}") from error
    if not isinstance(page, Mapping):
        raise ScopeError("a page of the scope is not a JSON object")
    return page
