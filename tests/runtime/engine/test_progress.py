"""Failures inside the progress of a pull or load."""

import pytest

from skerry.engine.progress import progress_error, with_remedy


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], ""),
        ([b'{"status":"Pulling"}', b"", b'{"status":"done"}'], ""),
        ([b'{"error":"no"}', b'{"status":"x"}'], "no"),
        ([b'{"errorDetail":{"message":"denied"}}'], "denied"),
        ([b'{"errorDetail":null,"error":null}'], ""),
        ([b"[]"], ""),
        ([b"<html>"], "the engine said b'<html>', which is no JSON"),
    ],
)
def test_the_last_reason_counts(lines: list[bytes], reason: str) -> None:
    """A failure is told in a step; everything else is progress."""
    assert progress_error(lines) == reason


def test_a_full_disk_has_a_remedy() -> None:
    """The engine's words stay, what to do comes after."""
    assert with_remedy("write /x: no space left on device").endswith("docker image prune")
