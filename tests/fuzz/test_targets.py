"""Every fuzz target: its committed inputs always, a coverage-guided run in the tier `faults`."""

import pytest

from harness import fuzz
from harness.tiers import Counts


@pytest.mark.parametrize("name", fuzz.names())
def test_known_inputs_end_as_they_must(name: str) -> None:
    """Seeds and corpus give an answer, or one of the errors that the target allows."""
    target = fuzz.load(name)
    for data in target.inputs():
        target.run(data)


@pytest.mark.faults
@pytest.mark.parametrize("name", fuzz.names())
def test_fuzzing_finds_nothing(name: str, counts: Counts) -> None:
    """No input makes a parser hang, eat memory or raise what it must not."""
    seconds = counts.of("fuzz seconds per target", reduced=5, full=300)
    assert "stat::number_of_executed_units" in fuzz.fuzz(name, seconds)
