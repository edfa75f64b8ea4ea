"""Queries over the service REST: `POST /devices/query` (device-sdk-wire.md §4.4)."""

from skerry.heads.routes import Answer, LiveRoute, Request
from skerry.wire.identity import Identity
from skerry_lab.cloud import Cloud
from skerry_lab.query import service
from skerry_lab.query.errors import QueryError
from skerry_lab.query.query import Source
from skerry_lab.query.service import Chunk
from skerry_lab.registry.errors import bad_argument
from skerry_lab.registry.policies import Right
from skerry_lab.registry.requests import check_version, json_body
from skerry_lab.store import Store

PAGE_ROWS, MAX_PAGE_ROWS = 100, 1000


class StoredTwins:
    """The twins of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def chunk(self, source: Source, after: Identity, limit: int) -> Chunk:
        """Return the next twins."""

        def read(cloud: Cloud) -> Chunk:
            if source is Source.DEVICES:
                return cloud.views.devices_after(after.device_id, limit)
            return cloud.views.modules_after(after, limit)

        return await self._store.ado(read)


class QueryApi:
    """The route; lives on the loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._twins = StoredTwins(store)

    def routes(self) -> list[LiveRoute]:
        return [LiveRoute("POST", "/devices/query", self.query)]

    async def query(self, request: Request) -> Answer:
        """Answer with a page. Raises: HubError 400, 401, 403."""
        check_version(request)
        await self._store.ado(lambda cloud: cloud.access.policy(request, Right.SERVICE_CONNECT))
        text = json_body(request).get("query")
        if not isinstance(text, str):
            raise bad_argument('query is missing, expected {"query": "SELECT …"}')
        token = request.headers.get("x-ms-continuation") or None
        try:
            page = await service.run(self._twins, text, token, _limit(request))
        except QueryError as error:
            raise bad_argument(f"the query cannot be used: {error}") from error
        headers = {"x-ms-item-type": "Twin" if page.is_whole else "Raw"}
        if page.token is not None:
            headers["x-ms-continuation"] = page.token
        return Answer.json(list(page.rows), headers=headers)


def _limit(request: Request) -> int:
    text = request.headers.get("x-ms-max-item-count") or str(PAGE_ROWS)
    if not text.isdecimal() or int(text[:9]) < 1:
        raise bad_argument(f"x-ms-max-item-count is {text[:40]!r}, expected 1 to {MAX_PAGE_ROWS}")
    return min(int(text[:9]), MAX_PAGE_ROWS)
