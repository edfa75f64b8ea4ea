"""DPS as services see it: enrolments and registrations over REST.

The hub's policies open it, those with RegistryRead to look and RegistryWrite to change: a lab has
no policies of DPS's own. Queries are `SELECT * FROM enrollments` and nothing finer.
"""

import json
from collections.abc import Callable
from dataclasses import replace

from skerry.heads.routes import Answer, Handler, Request, Route
from skerry_lab.dps import documents
from skerry_lab.dps.errors import (
    BAD_REQUEST,
    CHANGED_MEANWHILE,
    ENROLLMENT_EXISTS,
    NO_ENROLLMENT,
    DpsError,
    check_version,
)
from skerry_lab.dps.model import Enrollment, Registration
from skerry_lab.dps.store import DpsStore
from skerry_lab.registry.access import Access
from skerry_lab.registry.model import Authentication
from skerry_lab.registry.policies import Right

API_VERSIONS = ("2018-09-01", "2019-03-31", "2021-06-01", "2021-10-01")

_QUERIES = ("select * from enrollments", "select * from enrollmentgroups")
_MAX_ITEMS = 1000


class DpsServiceApi:
    """Handlers; each runs in one transaction."""

    def __init__(
        self,
        store: DpsStore,
        access: Access,
        fresh_keys: Callable[[], Authentication],
        hub_name: str,
    ) -> None:
        self._store = store
        self._access = access
        self._fresh_keys = fresh_keys
        self._hub_name = hub_name

    def routes(self) -> list[Route]:
        return [
            *self._of("/enrollments", group=False),
            *self._of("/enrollmentGroups", group=True),
            Route("GET", "/registrations/{name}", self.registration),
            Route("DELETE", "/registrations/{name}", self.delete_registration),
            Route("POST", "/registrations/{name}/query", self.registrations),
        ]

    def registration(self, request: Request, name: str) -> Answer:
        self._check(request, Right.REGISTRY_READ)
        return Answer.json(documents.registration_json(self._registration(name), self._hub_name))

    def delete_registration(self, request: Request, name: str) -> Answer:
        self._check(request, Right.REGISTRY_WRITE)
        self._registration(name)
        self._store.delete_registration(name)
        return Answer(204)

    def registrations(self, request: Request, name: str) -> Answer:
        self._check(request, Right.REGISTRY_READ)
        self._enrollment(name, group=True)
        found = self._store.registrations(name)
        return _page(request, [documents.registration_json(each, self._hub_name) for each in found])

    def _of(self, base: str, *, group: bool) -> list[Route]:
        """Return the routes of individual enrolments, or of groups."""

        def bound(handler: Callable[..., Answer]) -> Handler:
            return lambda request, **ids: handler(request, group=group, **ids)

        return [
            Route("POST", f"{base}/query", bound(self._query)),
            Route("GET", f"{base}/{{name}}", bound(self._get)),
            Route("PUT", f"{base}/{{name}}", bound(self._put)),
            Route("DELETE", f"{base}/{{name}}", bound(self._delete)),
            Route("POST", f"{base}/{{name}}/attestationmechanism", bound(self._attestation)),
        ]

    def _get(self, request: Request, name: str, *, group: bool) -> Answer:
        self._check(request, Right.REGISTRY_READ)
        return _tagged(documents.to_json(self._enrollment(name, group=group)))

    def _attestation(self, request: Request, name: str, *, group: bool) -> Answer:
        self._check(request, Right.REGISTRY_READ)
        return Answer.json(documents.to_json(self._enrollment(name, group=group))["attestation"])

    def _put(self, request: Request, name: str, *, group: bool) -> Answer:
        self._check(request, Right.REGISTRY_WRITE)
        fresh = self._fresh_keys()
        former = self._store.enrollment(name, group=group)
        wanted = documents.from_json(_body(request), name, group=group, fresh=fresh)
        if former is not None:
            if "if-match" not in request.headers:
                raise DpsError(ENROLLMENT_EXISTS, f"enrollment {name!r} exists already")
            _check_match(request, former)
            # What the API has no words for stays as the command line made it.
            wanted = replace(wanted, payload=former.payload, echo=former.echo)
        elif request.headers.get("if-match", "*").strip('"') != "*":
            raise DpsError(NO_ENROLLMENT, f"no enrollment {name!r}")
        self._store.put_enrollment(wanted)
        return _tagged(documents.to_json(wanted))

    def _delete(self, request: Request, name: str, *, group: bool) -> Answer:
        self._check(request, Right.REGISTRY_WRITE)
        _check_match(request, self._enrollment(name, group=group))
        self._store.delete_enrollment(name, group=group)
        return Answer(204)

    def _query(self, request: Request, *, group: bool) -> Answer:
        self._check(request, Right.REGISTRY_READ)
        query = _body(request).get("query", _QUERIES[0])
        if not isinstance(query, str) or " ".join(query.lower().split()) not in _QUERIES:
            raise DpsError(BAD_REQUEST, f"query {query!r} is not known, only {_QUERIES[0]!r} is")
        found = [each for each in self._store.enrollments() if each.group is group]
        return _page(request, [documents.to_json(each) for each in found])

    def _enrollment(self, name: str, *, group: bool) -> Enrollment:
        found = self._store.enrollment(name, group=group)
        if found is None:
            raise DpsError(NO_ENROLLMENT, f"no enrollment {name!r}")
        return found

    def _registration(self, name: str) -> Registration:
        found = self._store.registration(name)
        if found is None:
            raise DpsError(NO_ENROLLMENT, f"no registration {name!r}")
        return found

    def _check(self, request: Request, right: Right) -> None:
        check_version(request.query.get("api-version"), API_VERSIONS)
        self._access.policy(request, right)


def _check_match(request: Request, former: Enrollment) -> None:
    wanted = request.headers.get("if-match", "*").strip()
    etag = str(documents.to_json(former)["etag"])
    if wanted.strip('"') not in ("*", etag.strip('"')):
        raise DpsError(CHANGED_MEANWHILE, f"the etag is {etag}, expected {wanted}")


def _page(request: Request, items: list[dict[str, object]]) -> Answer:
    """Answer with as many as are asked for, and where the next ones begin."""
    size, start = (
        request.headers.get(name, default)
        for name, default in (("x-ms-max-item-count", str(_MAX_ITEMS)), ("x-ms-continuation", "0"))
    )
    if not (size.isdecimal() and start.isdecimal() and 0 < int(size[:9]) <= _MAX_ITEMS):
        raise DpsError(BAD_REQUEST, f"x-ms-max-item-count is {size!r}, expected 1 to {_MAX_ITEMS}")
    first = int(start[:9])
    end = first + int(size)
    more = {"x-ms-continuation": str(end)} if end < len(items) else {}
    return Answer.json(items[first:end], headers=more)


def _tagged(body: dict[str, object]) -> Answer:
    return Answer.json(body, headers={"etag": str(body["etag"])})


def _body(request: Request) -> dict[str, object]:
    try:
        body = json.loads(request.body)
        json.dumps(body, ensure_ascii=False).encode()  # half a surrogate pair cannot be stored
    except (ValueError, RecursionError) as error:
        raise DpsError(BAD_REQUEST, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise DpsError(BAD_REQUEST, f"the body is {type(body).__name__}, expected a JSON object")
    return body
