"""What all of the hub's REST shares: api-version, bodies, If-Match, etags."""

import json

from skerry.heads.routes import Answer, Request
from skerry_lab.registry.errors import HubError, bad_argument

API_VERSIONS = (
    "2016-11-14",
    "2017-06-30",
    "2017-11-08-preview",
    "2018-04-01",
    "2018-06-30",
    "2018-08-30-preview",
    "2019-03-30",
    "2019-10-01",
    "2020-03-13",
    "2020-05-31-preview",
    "2020-06-30-preview",
    "2020-09-30",
    "2021-04-12",
)


def check_version(request: Request) -> None:
    """Check that a request has an api-version that is known. Raises: HubError 400."""
    version = request.query.get("api-version")
    if version not in API_VERSIONS:
        raise HubError(
            400,
            "InvalidProtocolVersion",
            f"api-version {version!r} is not known, expected one of {', '.join(API_VERSIONS)}",
        )


def json_body(request: Request) -> dict[str, object]:
    """Return the JSON object of a request. Raises: HubError 400."""
    body = _json(request)
    if not isinstance(body, dict):
        raise bad_argument(f"the body is {type(body).__name__}, expected a JSON object")
    return body


def json_list(request: Request) -> list[object]:
    """Return the JSON list of a request. Raises: HubError 400."""
    body = _json(request)
    if not isinstance(body, list):
        raise bad_argument(f"the body is {type(body).__name__}, expected a JSON list")
    return body


def _json(request: Request) -> object:
    try:
        body: object = json.loads(request.body)
        json.dumps(body, ensure_ascii=False).encode()  # half a surrogate pair cannot be stored
    except (ValueError, RecursionError) as error:
        raise bad_argument(f"the body is not JSON: {error}") from error
    return body


def if_match(request: Request) -> str | None:
    """Return the etag that a request expects, without quotes; None when it names none."""
    header = request.headers.get("if-match")
    return None if header is None else header.strip().strip('"')


def tagged(body: dict[str, object], etag: str) -> Answer:
    """Return an answer with its etag."""
    return Answer.json(body, headers={"etag": f'"{etag}"'})
