"""Where measurements go: one line of JSON for each figure, collected by `make bench`.

A figure is never asserted. Run by hand (`pytest -m perf tests/perf -s`), figures are printed.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from skerry_factory.bench import Result

Record = Callable[[Result], None]


@pytest.fixture
def record() -> Record:
    """Return what takes a figure; make it with `skerry_factory.bench.summarise`."""
    named = os.environ.get("SKERRY_FIGURES")

    def write(result: Result) -> None:
        line = json.dumps(asdict(result))
        if named is None:
            print(line)  # noqa: T201  (a measurement by hand is read on the terminal)
            return
        with Path(named).open("a", encoding="utf-8") as figures:
            figures.write(f"{line}\n")

    return write
