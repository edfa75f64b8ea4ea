"""Configurations over the service REST (device-sdk-wire.md §4.4): what changes them."""

from skerry.heads.routes import Answer, Request, Route
from skerry_lab.configurations.content import Deployments, content_from
from skerry_lab.configurations.model import texts_from, to_json
from skerry_lab.configurations.service import Configurations
from skerry_lab.query.errors import QueryError
from skerry_lab.query.query import parse_query, parse_target
from skerry_lab.registry.access import Access
from skerry_lab.registry.errors import bad_argument
from skerry_lab.registry.policies import Right
from skerry_lab.registry.requests import check_version, if_match, json_body, tagged
from skerry_lab.registry.service import ANY

_CREATED = 201
_MAX_TESTED = 100


class ConfigurationsApi:
    """Handlers; each runs in one transaction."""

    def __init__(
        self, deployments: Deployments, configurations: Configurations, access: Access
    ) -> None:
        self._deployments = deployments
        self._configurations = configurations
        self._access = access

    def routes(self) -> list[Route]:
        one = "/configurations/{configuration_id}"
        return [
            Route("POST", "/devices/{device_id}/applyConfigurationContent", self.apply),
            Route("POST", "/configurations/testQueries", self.test),
            Route("PUT", one, self.put),
            Route("DELETE", one, self.delete),
        ]

    def apply(self, request: Request, device_id: str) -> Answer:
        check_version(request)
        self._access.policy(request, Right.REGISTRY_WRITE)
        self._deployments.apply(device_id, content_from(json_body(request)))
        return Answer(204)

    def put(self, request: Request, configuration_id: str) -> Answer:
        check_version(request)
        self._access.policy(request, Right.REGISTRY_WRITE)
        etag = if_match(request)
        stored = self._configurations.put(configuration_id, json_body(request), etag)
        answer = tagged(to_json(stored, self._configurations.counts(stored), {}), stored.etag)
        return Answer(_CREATED if etag is None else 200, answer.body, answer.headers)

    def delete(self, request: Request, configuration_id: str) -> Answer:
        check_version(request)
        self._access.policy(request, Right.REGISTRY_WRITE)
        self._configurations.remove(configuration_id, if_match(request) or ANY)
        return Answer(204)

    def test(self, request: Request) -> Answer:
        """Answer what is wrong with a target condition and with metrics."""
        check_version(request)
        self._access.policy(request, Right.REGISTRY_READ)
        body = json_body(request)
        condition = body.get("targetCondition") or ""
        if not isinstance(condition, str):
            raise bad_argument("targetCondition is no text")
        queries = texts_from(body.get("customMetricQueries"), "customMetricQueries", _MAX_TESTED)
        target_error = None
        try:
            parse_target(condition)
        except QueryError as error:
            target_error = str(error)
        errors: dict[str, str] = {}
        for name, text in queries.items():
            try:
                parse_query(text)
            except QueryError as error:
                errors[name] = str(error)
        return Answer.json(
            {"targetConditionError": target_error, "customMetricQueryErrors": errors}
        )
