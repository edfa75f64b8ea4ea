"""Routes of a deployment: whatever is read can be asked about any message."""

from skerry.hub.errors import RouteError
from skerry.hub.routes.model import Message
from skerry.hub.routes.route import parse_route

ALLOWED = (RouteError,)
SEEDS = (
    b"SELECT * FROM /messages/modules/a/* WHERE $body.t[0].x > 1.5e3 AND NOT is_null(p) "
    b"INTO $upstream",
    b"FROM /twinChangeNotifications WHERE twin_change_includes(tags.x) INTO $upstream",
    b"FROM /* WHERE substring(a || 'b', -1, 0x2) ?? \"\\u00fc\" = {$contentType} "
    b"INTO BrokeredEndpoint('/modules/m/inputs/i')",
)
_MESSAGE = Message(
    "/messages/modules/a/outputs/o",
    {"p": "1", "a": "text"},
    {"content-type": "application/json", "content-encoding": "utf-8"},
    b'{"t": [{"x": 2000}], "n": null}',
)


def one(data: bytes) -> None:
    """Compile a route and ask it; the verdict is that of its explanation."""
    route = parse_route(data.decode("utf-8", errors="replace"))
    told = route.explain(_MESSAGE)
    assert told["matches"] is route.matches(_MESSAGE)
