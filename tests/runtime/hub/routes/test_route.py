"""Routes: what they take and give, and what is wrong with them (azure-iot-edge.md §6.2)."""

import json

import pytest

from skerry.hub.errors import RouteError
from skerry.hub.routes.model import Message
from skerry.hub.routes.route import Sink, parse_route

SENSOR = "/messages/modules/sensor/outputs/temperature"
BODY = {
    "t": 21.5,
    "n": None,
    "ok": True,
    "text": "ü",
    "list": [1, {"deep": "x"}],
    "object": {"a": {"b": 2}},
}


def message(**changes: object) -> Message:
    fields: dict[str, object] = {
        "source": SENSOR,
        "properties": {"level": "7", "name": "Pump", "empty": "", "$odd": "own", "a.b": "dots"},
        "system": {
            "content-type": "application/json",
            "content-encoding": "UTF-8",
            "connection-device-id": "d",
        },
        "body": json.dumps(BODY).encode(),
    }
    return Message(**{**fields, **changes})  # type: ignore[arg-type]


def value(condition: str, of: Message | None = None) -> object:
    """Return what a condition is for a message, as people are shown it."""
    told = parse_route(f"FROM /* WHERE {condition} INTO $upstream").explain(of or message())
    found = told["condition"]
    assert isinstance(found, dict)
    return found["value"]


@pytest.mark.parametrize(
    ("source", "taken"),
    [
        ("/messages/*", True),
        ("/messages/modules/sensor/outputs/temperature", True),
        ("/messages/modules/sensor/outputs/temperature/", True),
        ("/messages/modules/SENSOR/*", True),
        ("/messages/modules/sen*", False),
        ("/messages/modules/sens", False),
        ("/messages/modules/other/*", False),
        ("/*", True),
        ("/", True),
        ("/messages/modules/sensor/outputs/humidity", False),
        ("/twinChangeNotifications/*", False),
    ],
)
def test_a_source_is_a_beginning(source: str, taken: bool) -> None:
    """Of whole names, in any case, with a star or a slash at its end or neither."""
    route = parse_route(f"FROM {source} INTO $upstream")
    assert route.matches(message()) is taken


@pytest.mark.parametrize(
    "text",
    [
        "FROM /* INTO $upstream",
        "from /* into $UPSTREAM",
        "SELECT * FROM /messages/* INTO $upstream",
        "FROM /messages/* /* all of it */ WHERE true INTO $upstream",
        "  FROM\n\t/messages/*\nINTO\n$upstream  ",
        "FROM /messages/modules/$edgeHub/outputs/7 INTO $upstream",
    ],
)
def test_routes_upstream(text: str) -> None:
    """Keywords in any case, blanks and comments anywhere."""
    assert parse_route(text).sink == Sink()


def test_a_route_to_an_input_of_a_module() -> None:
    """The function's name in any case, the names as they are."""
    route = parse_route("FROM /messages/* INTO brokeredendpoint('/modules/Filter/inputs/in 1')")
    assert route.sink == Sink("Filter", "in 1")
    assert str(route.sink) == "/modules/Filter/inputs/in 1"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        # properties
        ("level = '7'", True),
        ("level = '8'", False),
        ("Level = '7'", "undefined"),
        ("a.b = 'dots'", True),
        ("as_number(level) > 6", True),
        ("$odd = 'own'", True),
        ("{$odd} = 'own'", "undefined"),
        ("$connectionDeviceId = 'd'", True),
        ("{$connectionDeviceId} = 'd'", True),
        ("$connectionModuleId = 'm'", "undefined"),
        # literals
        ("'it\\'s' = \"it's\"", True),
        ("'\\u00fc' = 'ü'", True),
        ("0x1F = 31", True),
        ("1.5e2 = 150", True),
        (".5 < 1", True),
        ("-5 < 0", True),
        ("- 5 < 0", True),
        # the body
        ("$body.t > 21", True),
        ("$body.t = '21.5'", "undefined"),
        ("$body.list[1].deep = 'x'", True),
        ("$body.object.a.b = 2", True),
        ("$body.object['a'].b = 2", True),
        ("$body.text = 'ü'", True),
        ("$body.ok", True),
        ("is_null($body.n)", True),
        ("is_null($body.missing)", True),
        ("is_null($body.list[7])", True),
        ("is_defined($body.object)", True),
        ("$body.object = 'x'", "undefined"),
        ("$BODY.t > 21", True),
        # three values
        ("none = 'x' OR true", True),
        ("none = 'x' OR false", "undefined"),
        ("none = 'x' AND false", False),
        ("none = 'x' AND true", "undefined"),
        ("NOT (none = 'x')", "undefined"),
        ("NOT false", True),
        ("null AND false", None),
        ("null OR true", True),
        ("NOT null", None),
        ("null = null", True),
        ("undefined = undefined", "undefined"),
        ("(none ?? name) = 'Pump'", True),
        ("(level ?? name) = '7'", True),
        # precedence
        ("1 + 2 * 3 = 7", True),
        ("(1 + 2) * 3 = 9", True),
        ("7 % 4 = 3 AND -7 % 4 = -3", True),
        ("true OR false AND false", True),
        ("NOT true OR true", True),
        ("1 < 2 = true", True),
        ("'a' || 'b' || 'c' = 'abc'", True),
        ("1 / 0 > 1", "undefined"),
        ("1 <> 2 AND 1 != 2", True),
        ("'a' < 'b' AND 'b' <= 'b' AND 'B' < 'a' AND 'b' >= 'a'", True),
        # functions
        ("abs(-2) = 2 AND square(3) = 9 AND power(2, 3) = 8 AND sqrt(16) = 4", True),
        ("ceiling(1.2) = 2 AND floor(1.8) = 1 AND sign(-3) = -1 AND exp(0) = 1", True),
        ("sqrt(-1) = 1", "undefined"),
        ("exp(1000) = 1", "undefined"),
        ("as_number('1,234.5') = 1234.5", True),
        ("as_number('x') = 1", "undefined"),
        ("is_bool($body.ok) AND is_number($body.t) AND is_string(name)", True),
        ("is_defined(none)", False),
        ("IS_DEFINED(empty)", True),
        ("concat('a', 'b', 'c') = 'abc' AND length('abc') = 3", True),
        ("lower(name) = 'pump' AND upper(name) = 'PUMP'", True),
        ("substring('abc', 1) = 'bc' AND substring('abc', 1, 1) = 'b'", True),
        ("substring('abc', 1, 9) = 'bc'", "undefined"),
        ("substring('abc', -1) = 'c'", "undefined"),
        ("index_of('abc', 'c') = 2 AND index_of('abc', 'x') = -1", True),
        ("starts_with(name, 'Pu') AND ends_with(name, 'mp') AND contains(name, 'um')", True),
        ("length($body.t) = 4", "undefined"),
    ],
)
def test_conditions(condition: str, expected: object) -> None:
    """Properties, literals, the body, three-valued logic, precedence, functions."""
    assert value(condition) == expected


@pytest.mark.parametrize(
    ("content_type", "encoding", "codec", "expected"),
    [
        ("application/json", "utf-8", "utf-8", True),
        ("Application/JSON", "UTF-16", "utf-16", True),
        ("application/json", "utf-32", "utf-32", True),
        ("application/json", "latin-1", "latin-1", "undefined"),
        ("text/plain", "utf-8", "utf-8", "undefined"),
        ("application/json", "utf-16", "utf-8", "undefined"),
    ],
)
def test_the_body_counts_only_as_what_it_is_called(
    content_type: str, encoding: str, codec: str, expected: object
) -> None:
    """Type and encoding have to be right."""
    system = {"content-type": content_type, "content-encoding": encoding}
    of = message(system=system, body=json.dumps(BODY, ensure_ascii=False).encode(codec))
    assert value("$body.text = 'ü'", of) == expected


def test_a_body_that_is_no_object_is_undefined() -> None:
    """Whatever is asked of it."""
    for body in (b"[1]", b"{", b"7", b""):
        assert value("$body.t = 1", message(body=body)) == "undefined"


def test_properties_win_over_the_body_unless_in_braces() -> None:
    """As upstream has it, and a property's name holds no brackets."""
    of = message(properties={"$body.t": "mine", "$body.list[0]": "mine"})
    assert value("$body.t = 'mine'", of) is True
    assert value("{$body.t} > 21", of) is True
    assert value("$body.list[0] = 1", of) is True


TWIN = "FROM /twinChangeNotifications/* WHERE twin_change_includes({0}) INTO $upstream"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("properties.reported.a", True), ("properties.reported.a.b", True),
     ("properties.reported.c", False), ("tags.x", False)],
)  # fmt: skip
def test_changes_of_twins_are_routed_by_what_changed(path: str, expected: bool) -> None:
    """The patch has the name, whatever its value."""
    body = json.dumps({"a": {"b": None}}).encode()
    changed = message(source="/twinChangeNotifications", body=body)
    assert parse_route(TWIN.format(path)).matches(changed) is expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "column 1: the route ends, expected FROM"),
        ("FROM", "column 5: the route ends, expected a source such as '/messages/*'"),
        ("FROM /*", "column 8: the route ends, expected INTO"),
        ("FROM /* INTO", "column 13: the route ends, expected '$upstream'"),
        ("FROM /* INTO $down", "column 14: '$down' is not expected here, expected '$upstream'"),
        ("FROM /* INTO upstream", "'upstream' is not expected here"),
        ("FROM /* INTO $upstream x", "column 24: 'x' is not expected here, expected the end"),
        ("FROM messages INTO $upstream", "'messages' is not expected here, expected a source"),
        ("SELECT x FROM /* INTO $upstream", "'x' is not expected here, expected '*'"),
        ("FROM /* INTO BrokeredEndpoint(x)", "'x' is not expected here, expected '\"/modules/"),
        ("FROM /* INTO BrokeredEndpoint('/modules/m')", "expected '\"/modules/NAME/inputs/NAME\"'"),
        ("FROM /* INTO BrokeredEndpoint('/modules//inputs/i')", "expected '\"/modules/"),
        ("FROM /* WHERE INTO $upstream", "'INTO' is not expected here, expected a property"),
        ("FROM /* WHERE a = 'x INTO $upstream", "column 19: a text does not end"),
        ("FROM /* WHERE (a = 'x' INTO $upstream", "'INTO' is not expected here, expected ')'"),
        ("FROM /* WHERE a = 'x') INTO $upstream", "')' is not expected here, expected INTO"),
        ("FROM /* WHERE a ; b INTO $upstream", "';' is not expected here"),
        ("FROM /* WHERE level > 5 INTO $upstream", "'>' has a number, expected a string as on its"),
        ("FROM /* WHERE 'a' + 1 = 2 INTO $upstream", "'+' has a string, expected a number"),
        ("FROM /* WHERE NOT 'a' INTO $upstream", "'NOT' has a string, expected a bool"),
        ("FROM /* WHERE a AND true INTO $upstream", "'AND' has a string, expected a bool"),
        ("FROM /* WHERE 1 || 'a' = '' INTO $upstream", "'||' has a number, expected a string"),
        ("FROM /* WHERE lenth(a) = 1 INTO $upstream", "function 'lenth' is not known"),
        ("FROM /* WHERE length() = 1 INTO $upstream", "'length' has 0 arguments, expected 1"),
        ("FROM /* WHERE substring(a) = '' INTO $upstream", "has 1 arguments, expected 2 to 3"),
        ("FROM /* WHERE concat(a) = '' INTO $upstream", "has 1 arguments, expected 2 or more"),
        ("FROM /* WHERE length(1) = 1 INTO $upstream", "a number as argument 1, expected a string"),
        ("FROM /* WHERE $body.a..b = 1 INTO $upstream", "is not a path into the body"),
        ("FROM /* WHERE $body.a[*] = 1 INTO $upstream", "is not a path into the body"),
        (TWIN.format("properties.reported"), "is not a path into a twin"),
        (TWIN.format("other.x"), "is not a path into a twin"),
        ("FROM /* WHERE twin_change_includes(tags.x) INTO $upstream", "is for routes FROM /twinCh"),
        ("FROM /* WHERE " + "(" * 31 + "INTO $upstream", "expected at most 30 levels"),
        ("FROM /* WHERE " + "NOT " * 31 + "true INTO $upstream", "expected at most 30 levels"),
        ("FROM /* WHERE 1" + " + 1" * 151 + " INTO $upstream", "expected at most 150 operators"),
        ("x" * 9000, "the route has 9000 characters, expected at most 8192"),
        ("FROM /* WHERE a ?? b = 'x' INTO $upstream", "'??' has a bool, expected a string as on"),
        ("FROM /* WHERE NOT a = 'x' INTO $upstream", "'NOT' has a string, expected a bool"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_place(text: str, problem: str) -> None:
    """Column, what was found, what was expected."""
    with pytest.raises(RouteError) as caught:
        parse_route(text)
    assert problem in str(caught.value)


def test_the_longest_condition_is_evaluated() -> None:
    """The limits hold for evaluation too."""
    deep = "(" * 30 + "1" + ")" * 30
    assert value(deep + " + 1" * 149 + " = 150") is True


def test_all_wrong_kinds_are_told_at_once() -> None:
    """Each with its place, as upstream's shape has it."""
    with pytest.raises(RouteError) as caught:
        parse_route("FROM /* WHERE length(1) = 'a' AND lenth(2) INTO $upstream")
    problems = [problem.to_json() for problem in caught.value.problems]
    assert [problem["location"] for problem in problems] == [
        {"start": 21, "end": 22},
        {"start": 24, "end": 25},
        {"start": 34, "end": 39},
    ]
    assert {problem["severity"] for problem in problems} == {"error"}


def test_a_comment_needs_its_end() -> None:
    """A star after a slash is a source otherwise; a later `*/` would make it a comment."""
    assert parse_route("FROM /* INTO $upstream").source == "/"
    with pytest.raises(RouteError, match="the route ends, expected a source"):
        parse_route("FROM /* INTO $upstream */")


def test_why_a_message_does_not_match_is_explained() -> None:
    """Source, every part of the condition with its text and value, and the sink."""
    route = parse_route("FROM /messages/* WHERE level = '8' AND $body.t > 20 INTO $upstream")
    assert route.explain(message()) == {
        "matches": False,
        "source": {"expected": "/messages/", "found": f"{SENSOR.lower()}/", "matches": True},
        "sink": "$upstream",
        "condition": {
            "text": "level = '8' AND $body.t > 20",
            "value": False,
            "parts": [
                {
                    "text": "level = '8'",
                    "value": False,
                    "parts": [{"text": "level", "value": "7"}, {"text": "'8'", "value": "8"}],
                },
                {
                    "text": "$body.t > 20",
                    "value": True,
                    "parts": [{"text": "$body.t", "value": 21.5}, {"text": "20", "value": 20}],
                },
            ],
        },
    }
