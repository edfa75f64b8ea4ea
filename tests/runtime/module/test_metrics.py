"""Figures of a process: what is counted is told, and costs a bounded amount of memory."""

import re

import pytest

from skerry.module.metrics import MOST_SERIES, OTHERS, Registry


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(clock: Clock) -> Registry:
    return Registry({"edge_device": "d"}, clock)


def told(registry: Registry) -> dict[str, str]:
    """Return the value of each series, without what all have."""
    lines = [line for line in registry.text().splitlines() if not line.startswith("#")]
    found = {}
    for line in lines:
        series, _, value = line.rpartition(" ")
        found[re.sub(r'edge_device="d",?', "", series).replace("{}", "")] = value
    return found


@pytest.mark.parametrize("count", [1, 255, 256, 257, 1000])
def test_a_summary_counts_every_value(registry: Registry, count: int) -> None:
    """However many came; its quantiles are of the last 256."""
    series = registry.summary("s", "").of(id="a")
    for number in range(count):
        series.observe(number)
    found = told(registry)
    assert found['s_count{id="a"}'] == str(count)
    assert found['s_sum{id="a"}'] == str(sum(range(count)))
    last = range(count)[-256:]
    for quantile in (0.5, 0.9, 0.95, 0.99, 0.999, 0.9999):
        value = last[min(int(quantile * len(last)), len(last) - 1)]
        assert found[f's{{id="a",quantile="{quantile}"}}'] == str(value)


def test_values_of_a_handle_and_by_name_are_one_series(registry: Registry) -> None:
    """Whichever way they were counted."""
    summary, counter = registry.summary("s", ""), registry.counter("c", "")
    summary.of(id="a").observe(1.5)
    summary.observe(2.0, id="a")
    counter.of(id="a").value += 2
    counter.add(1, id="a")
    found = told(registry)
    assert (found['s_count{id="a"}'], found['s_sum{id="a"}']) == ("2", "3.5")
    assert found['c{id="a"}'] == "3"


def test_quantiles_are_nan_after_ten_minutes_without_a_value(
    registry: Registry, clock: Clock
) -> None:
    """Sum and count stay; the next value brings them back."""
    series = registry.summary("s", "").of()
    series.observe(4)
    assert told(registry)['s{quantile="0.5"}'] == "4"
    clock.now += 601
    found = told(registry)
    assert (found['s{quantile="0.5"}'], found["s_sum"], found["s_count"]) == ("NaN", "4", "1")
    series.observe(4)
    assert told(registry)['s{quantile="0.5"}'] == "4"


def test_labels_keep_their_order(registry: Registry) -> None:
    """Tools of others look for one behind another."""
    registry.counter("c", "").add(1, to="x", **{"from": "y"})
    assert 'c{edge_device="d",to="x",from="y"} 1' in registry.text()


def test_too_many_series_count_together(registry: Registry) -> None:
    """What clients choose cannot fill the memory, and nothing is lost of the sum."""
    counter = registry.counter("c", "")
    for number in range(MOST_SERIES + 10):
        counter.add(1, id=str(number), output="o")
    found = told(registry)
    assert len(found) == MOST_SERIES + 1
    assert found[f'c{{id="{OTHERS}",output="{OTHERS}"}}'] == "10"
