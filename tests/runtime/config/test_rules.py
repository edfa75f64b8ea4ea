"""Rules, their tolerance of broken tables, and what this version refuses."""

# ruff: noqa: E501  a configuration of a few lines is one row

import tomllib
from pathlib import Path

import pytest

from skerry.config.connection import ConnectionString, decode_key, parse_connection_string
from skerry.config.document import read
from skerry.config.duration import seconds_of
from skerry.config.problems import key_text
from skerry.config.references import resolve
from skerry.config.rules import check
from skerry.config.support import refused

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "config"
BASE = '[provisioning]\nsource = "standalone"\n'
MANUAL = '[provisioning]\nsource = "manual"\nconnection_string = "HostName=h.example;DeviceId=d;SharedAccessKey=a2V5"\n'


def test_plain_http_to_an_est_server_is_refused() -> None:
    """A login and a request for an identity do not go over the wire in the clear."""
    text = (
        f'{BASE}[edge_ca]\nmethod = "est"\nurl = "http://a.example"\n'
        '[cert_issuance.est.urls]\ndefault = "http://b.example"\nother = "https://c.example"\n'
    )
    problems = [(p.line, p.column, p.key) for p in read(text.encode(), "f").problems]
    assert problems == [(5, 7, "edge_ca.url"), (7, 11, "cert_issuance.est.urls.default")]


@pytest.mark.parametrize(
    "text",
    [
        "provisioning = 1",
        "modules = 1\nsecrets = 2\npreloaded_certs = 3\ncert_issuance = 4\nedge_ca = 5",
        'modules.a = 1\nmodules.b = { secrets = 1, dependsOn = 2 }\nmodules.c.dependsOn = [1, "a"]',
        "provisioning = { source = 1, connection_string = 2, attestation = 3, authentication = 4 }",
        "image_garbage_collection = { cleanup_recurrence = 1 }\npreloaded_certs = { a = [1], b = 1 }",
    ],
)
def test_rules_bear_any_shape(text: str) -> None:
    """Tables that break the schema are the schema's to report; the rules look past them."""
    check(tomllib.loads(text))
    refused(tomllib.loads(text))


def test_a_dependency_on_a_circle_is_no_circle() -> None:
    """Only the modules of the circle are named, once."""
    text = (
        f'{BASE}[modules.a]\nimage = "x"\ndependsOn = ["b", "c"]\n[modules.b]\nimage = "x"\n'
        'dependsOn = ["c"]\n[modules.c]\nimage = "x"\ndependsOn = ["b"]\n'
    )
    (problem,) = read(text.encode(), "f").problems
    assert problem.message == "modules depend on each other: b -> c -> b"


@pytest.mark.parametrize("case", sorted(path.name for path in GOLDEN.iterdir()))
def test_what_is_refused_is_refused_by_name(case: str) -> None:
    """Every gap is told in the same words, at the key that asks for it."""
    document = read((GOLDEN / case / "config.toml").read_bytes(), case)
    for problem in document.problems:
        assert problem.message.endswith("is not implemented in this version")
        assert problem.expected is None


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ('parent_hostname = "gw"\n' + BASE, ["parent_hostname"]),
        (f'{BASE}[agent]\nname = "a"\ntype = "docker"\nconfig = {{ image = "x", auth.password.secret = "sealed:s" }}',
         []),
        (f'{BASE}[modules.m]\nimage = "x"\nauth = {{ username = "u", password = "p" }}', []),
        (f'{BASE}[moby_runtime]\nuri = "npipe:////./pipe/docker_engine"', ["moby_runtime.uri"]),
        (f'{BASE}[connect]\nworkload_uri = "http://x:1"\nmanagement_uri = "unix:///var/run/iotedge/mgmt.sock"',
         ["connect.workload_uri"]),
        (f"{BASE}[image_garbage_collection]\nenabled = false", []),
        (f"{BASE}[hub]", []),
        (f'{MANUAL}[hub.routes]\nup = "FROM /* INTO $upstream"', []),
        (f'{MANUAL}[hub.leaf_devices.a]\nauthentication = {{ type = "x509_ca" }}', ["hub.leaf_devices"]),
        (f'{BASE}[hub.routes]\nup = "FROM /* INTO $upstream"\ndown = "FROM /* INTO brokeredEndpoint(\\"/modules/a/inputs/b\\")"',
         ["hub.routes.up"]),
        (f'{BASE}[hub.routes]\nup = {{ route = "FROM /*  into  $UPSTREAM " }}', ["hub.routes.up"]),
        (f'{BASE}[hub.leaf_devices.a]\nauthentication = {{ type = "sas", primaryKey = "?" }}',
         ["hub.leaf_devices.a.authentication.primaryKey"]),
    ],
)  # fmt: skip
def test_gaps_and_what_only_some_devices_have(text: str, keys: list[str]) -> None:
    """What cannot be done is refused, what comes near to it is not."""
    assert [problem.key for problem in read(text.encode(), "f").problems] == keys


@pytest.mark.parametrize(
    ("image", "password", "keys"),
    [
        ("r.example:5000/b", "p", []),
        ("r.example:5000/b", "q", ["modules.n.auth"]),
        ("R.example:5000/b", "q", ["modules.n.auth"]),
        ("other.example/b", "q", []),
        ("b", "q", []),
    ],
)
def test_a_registry_has_one_login(image: str, password: str, keys: list[str]) -> None:
    """Two modules may share a login, but not contradict each other; no message tells a password."""
    text = (
        f'{BASE}[modules.m]\nimage = "r.example:5000/a"\n'
        'auth = { username = "u", password = "p" }\n'
        f'[modules.n]\nimage = "{image}"\n'
        f'auth = {{ username = "u", password = "{password}" }}\n'
    )
    problems = read(text.encode(), "f").problems
    assert [problem.key for problem in problems] == keys
    assert all("'m'" in p.message and password not in p.message.split() for p in problems)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1d", 86400), ("36h", 129600), ("1h 30m", 5400), ("7 days", 604800), ("2w", 1209600),
     ("", None), ("5", None), ("5x", None), ("d", None)],
)  # fmt: skip
def test_durations(text: str, seconds: int | None) -> None:
    """Upstream's units, alone or together; anything else is none."""
    assert seconds_of(text) == seconds


def test_a_connection_string_is_taken_apart() -> None:
    """Order does not matter, other parts are ignored, padding may be missing."""
    text = "SharedAccessKey=AAE;Other=x;DeviceId=d;HostName=h"
    assert parse_connection_string(text) == ConnectionString("h", "d", b"\x00\x01")


@pytest.mark.parametrize(
    ("text", "key"), [("AAE=", b"\x00\x01"), ("AAE", b"\x00\x01"), ("", None), ("!", None)]
)
def test_keys_are_base64(text: str, key: bytes | None) -> None:
    """With or without padding; nothing is no key."""
    assert decode_key(text) == key


def test_a_key_path_reads_as_in_toml() -> None:
    """Names are quoted where TOML quotes them, indexes are in brackets."""
    assert key_text(("modules", "a.b", "dependsOn", 0)) == 'modules."a.b".dependsOn[0]'


def test_references_in_arrays_are_resolved_too() -> None:
    """Wherever a reference stands, its value takes its place."""
    tables = {"a": [1, {"secret": "sealed:x"}], "b": {"secret": "named"}}
    assert resolve(tables, {"x": "value"}) == ({"a": [1, "value"], "b": {"secret": "named"}}, [])


def test_deep_nesting_is_a_problem() -> None:
    """A file that would exhaust the stack is refused like any other, whoever meets the end of it."""
    for depth in (300, 480, 100_000):
        text = f"[modules.m.createOptions]\na = {'[' * depth}{']' * depth}\n"
        problems = read(text.encode(), "f").problems
        assert problems
    assert [str(problem) for problem in problems] == ["f:1:1: nested too deeply; expected TOML"]
