"""`skerry hub route test`: the verdict for people and programs, and bad input."""

import json
from pathlib import Path

import pytest

from skerry.cli.main import run

ROUTE = "FROM /messages/modules/s/* WHERE $body.t > 20 AND level = '7' INTO $upstream"
MESSAGE = {
    "source": "/messages/modules/s/outputs/o",
    "properties": {"level": "7"},
    "systemProperties": {"contentType": "application/json", "contentEncoding": "utf-8"},
    "body": {"t": 21},
}


def written(folder: Path, message: object = MESSAGE) -> str:
    file = folder / "message.json"
    file.write_text(message if isinstance(message, str) else json.dumps(message))
    return str(file)


def test_a_match_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Source, condition and each of its parts with its value."""
    assert run(["hub", "route", "test", ROUTE, "--message", written(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "matches, to $upstream",
        "  source /messages/modules/s/outputs/o/ is below /messages/modules/s/",
        "  $body.t > 20 AND level = '7'  →  true",
        "    $body.t > 20  →  true",
        "      $body.t  →  21",
        "      20  →  20",
        "    level = '7'  →  true",
        '      level  →  "7"',
        "      '7'  →  \"7\"",
    ]


def test_programs_get_the_same_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A message that does not match is no failure."""
    file = written(tmp_path, {**MESSAGE, "source": "/messages/modules/other"})
    assert run(["hub", "route", "test", ROUTE, "--message", file, "--output", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["matches"] is False
    assert told["source"]["matches"] is False
    assert told["condition"]["value"] is True


def test_a_body_may_be_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As base64."""
    message = {**MESSAGE, "bodyBase64": "eyJ0IjogMjF9"}
    del message["body"]
    assert run(["hub", "route", "test", ROUTE, "--message", written(tmp_path, message)]) == 0
    assert capsys.readouterr().out.startswith("matches")


def test_a_bad_route_is_shown_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mark below the text, exit status 1."""
    route = "FROM /* WHERE levl > 5 INTO $upstream"
    assert run(["hub", "route", "test", route, "--message", written(tmp_path)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert "column 20: '>' has a number, expected a string as on its left" in said[0]
    assert said[1:] == [f"  {route}", " " * 21 + "^"]


def test_a_bad_route_is_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In upstream's shape."""
    arguments = ["hub", "route", "test", "FROM", "--message", written(tmp_path), "--output", "json"]
    assert run(arguments) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["location"] == {"start": 4, "end": 4}


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("{", "is not JSON"),
        ([], "holds 'no object', expected an object of source, properties"),
        ({"propertys": {}}, "holds 'propertys', expected an object of"),
        ({"properties": {"a": 1}}, "properties is not a table of texts"),
        ({"bodyBase64": "*"}, "bodyBase64 is not base64"),
    ],
)
def test_a_bad_message_is_named(
    message: object, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file, what it holds, what was expected."""
    assert run(["hub", "route", "test", ROUTE, "--message", written(tmp_path, message)]) == 1
    assert problem in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the system's reason."""
    assert run(["hub", "route", "test", ROUTE, "--message", f"{tmp_path}/no.json"]) == 1
    assert "no.json cannot be read: No such file or directory" in capsys.readouterr().err
