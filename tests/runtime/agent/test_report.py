"""What of a report fits into a twin."""

import json
from typing import Any

from skerry.agent.report import fitting


def report(modules: int, text: str) -> dict[str, Any]:
    """Return a report on so many modules, each with some text in two places."""
    entry = {
        "runtimeStatus": "running",
        "settings": {"image": "i:1", "createOptions": text, "createOptions01": text},
        "env": {"A": {"value": text}},
    }
    return {
        "lastDesiredVersion": 3,
        "systemModules": {"edgeHub": entry},
        "modules": {f"m{number}": entry for number in range(modules)},
    }


def size(properties: dict[str, Any]) -> int:
    """Return the bytes that a twin counts."""
    return len(json.dumps(properties, separators=(",", ":")))


def test_what_fits_is_told_whole() -> None:
    """Nothing is left out without need."""
    assert fitting(report(2, "x" * 500)) == report(2, "x" * 500)


def test_environments_are_left_out_first() -> None:
    """They are in the deployment too."""
    found = fitting(report(24, "x" * 500))
    assert size(found) <= 32 * 1024
    assert "env" not in found["modules"]["m1"]
    assert found["modules"]["m1"]["settings"]["createOptions"] == "x" * 500


def test_fifty_modules_are_told_of() -> None:
    """With their states, whatever their create options are."""
    found = fitting(report(50, "x" * 500))
    assert size(found) <= 32 * 1024
    assert found["modules"]["m49"] == {"runtimeStatus": "running", "settings": {"image": "i:1"}}
    assert found["systemModules"]["edgeHub"]["runtimeStatus"] == "running"


def test_a_long_text_is_cut() -> None:
    """A hub refuses one of more than 4 KiB; a letter is cut out whole."""
    found = fitting({"lastDesiredStatus": {"description": "a" + "é" * 4000}})
    assert found["lastDesiredStatus"]["description"] == "a" + "é" * 2047
