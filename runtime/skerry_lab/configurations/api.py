"""Deployments over the service REST (device-sdk-wire.md §4.4)."""

from skerry_lab.configurations.content import Deployments, content_from
from skerry_lab.registry.access import Access
from skerry_lab.registry.policies import Right
from skerry_lab.registry.requests import check_version, json_body
from skerry_lab.routes import Answer, Request, Route


class ConfigurationsApi:
    """Handlers; each runs in one transaction."""

    def __init__(self, deployments: Deployments, access: Access) -> None:
        self._deployments = deployments
        self._access = access

    def routes(self) -> list[Route]:
        return [Route("POST", "/devices/{device_id}/applyConfigurationContent", self.apply)]

    def apply(self, request: Request, device_id: str) -> Answer:
        check_version(request)
        self._access.policy(request, Right.REGISTRY_WRITE)
        self._deployments.apply(device_id, content_from(json_body(request)))
        return Answer(204)
