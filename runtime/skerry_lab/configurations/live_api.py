"""Configurations over the service REST as they are read: custom metrics are counted then.

That goes through all twins, in chunks, so that other work is done in between.
"""

from collections.abc import Sequence

from skerry.heads.routes import Answer, LiveRoute, Request
from skerry_lab.cloud import Cloud
from skerry_lab.configurations.model import Configuration, metric_of, to_json
from skerry_lab.configurations.service import MAX_CONFIGURATIONS
from skerry_lab.query import service
from skerry_lab.query.api import StoredTwins
from skerry_lab.registry.errors import bad_argument
from skerry_lab.registry.policies import Right
from skerry_lab.registry.requests import check_version, tagged
from skerry_lab.store import Store

_MOST = 2 * MAX_CONFIGURATIONS


async def shown(store: Store, found: Sequence[Configuration]) -> list[dict[str, object]]:
    """Return configurations with the results of their metrics."""
    metrics = [
        (one, name, metric_of(name, text)) for one in found for name, text in one.metrics.items()
    ]
    results = await service.count(StoredTwins(store), [query for _, _, query in metrics])
    custom: dict[str, dict[str, int]] = {one.configuration_id: {} for one in found}
    for (one, name, _), result in zip(metrics, results, strict=True):
        custom[one.configuration_id][name] = result

    def read(cloud: Cloud) -> list[dict[str, object]]:
        count = cloud.configurations.counts
        return [to_json(one, count(one), custom[one.configuration_id]) for one in found]

    return await store.ado(read)


class LiveConfigurationsApi:
    """The routes; live on the loop."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[LiveRoute]:
        return [
            LiveRoute("GET", "/configurations", self.list),
            LiveRoute("GET", "/configurations/{configuration_id}", self.get),
        ]

    async def list(self, request: Request) -> Answer:
        """Answer with all, or the first ones. Raises: HubError 400, 401, 403."""
        check_version(request)
        limit = _top(request)

        def read(cloud: Cloud) -> Sequence[Configuration]:
            cloud.access.policy(request, Right.REGISTRY_READ)
            return cloud.configurations.store.all(limit)

        return Answer.json(await shown(self._store, await self._store.ado(read)))

    async def get(self, request: Request, configuration_id: str) -> Answer:
        """Answer with one. Raises: HubError 401, 403, 404."""
        check_version(request)

        def read(cloud: Cloud) -> Configuration:
            cloud.access.policy(request, Right.REGISTRY_READ)
            return cloud.configurations.get(configuration_id)

        found = await self._store.ado(read)
        return tagged((await shown(self._store, [found]))[0], found.etag)


def _top(request: Request) -> int:
    text = request.query.get("top", str(_MOST))
    if not text.isdecimal() or int(text[:9]) < 1:
        raise bad_argument(f"top is {text[:40]!r}, expected 1 to {_MOST}")
    return min(int(text[:9]), _MOST)
