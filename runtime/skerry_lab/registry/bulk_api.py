"""Bulk changes of the registry over the service REST: `POST /devices`."""

from skerry.heads.routes import Answer, Request, Route
from skerry_lab.registry.access import Access
from skerry_lab.registry.bulk import Bulk, Failure
from skerry_lab.registry.policies import Right
from skerry_lab.registry.requests import check_version, json_list


class BulkApi:
    """The handler; it runs in one transaction."""

    def __init__(self, bulk: Bulk, access: Access) -> None:
        self._bulk = bulk
        self._access = access

    def routes(self) -> list[Route]:
        return [Route("POST", "/devices", self.run)]

    def run(self, request: Request) -> Answer:
        """Answer 400 when something was not done; what was done, is."""
        check_version(request)
        self._access.policy(request, Right.REGISTRY_WRITE)
        failures = self._bulk.run(json_list(request))
        body = {
            "isSuccessful": not failures,
            "errors": [_to_json(failure) for failure in failures],
            "warnings": [],
        }
        return Answer.json(body, 400 if failures else 200)


def _to_json(failure: Failure) -> dict[str, object]:
    return {
        "deviceId": failure.identity.device_id,
        "moduleId": failure.identity.module_id,
        "errorCode": failure.code,
        "errorStatus": failure.message,
        "operation": failure.operation,
    }
