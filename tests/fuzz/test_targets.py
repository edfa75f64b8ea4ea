"""Every fuzz target: its committed inputs always, a coverage-guided run in the tier `faults`."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import fuzz
from harness.tiers import Counts

_MOST_SECONDS = 4 * 3600


@pytest.mark.parametrize("name", fuzz.names())
def test_known_inputs_end_as_they_must(name: str) -> None:
    """Seeds and corpus give an answer, or one of the errors that the target allows."""
    target = fuzz.load(name)
    for data in target.inputs():
        target.run(data)


@pytest.mark.faults
@pytest.mark.timeout(_MOST_SECONDS)
def test_fuzzing_finds_nothing(counts: Counts) -> None:
    """No input makes a parser hang, eat memory or raise what it must not.

    A run is bounded by time and not by work, so the cores share the targets.
    """
    seconds = counts.of("fuzz seconds per target", reduced=5, full=300)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = {name: pool.submit(fuzz.fuzz, name, seconds) for name in fuzz.names()}
    problems = [str(run.exception()) for run in runs.values() if run.exception() is not None]
    assert not problems, "\n\n".join(problems)
    assert all("stat::number_of_executed_units" in run.result() for run in runs.values())
