"""The agent's figures and their text form (Prometheus, version 0.0.4), under upstream's names.

Source: azure-iot-edge.md §5.7, with its one name in lower case. Every series has the labels
`iothub`, `edge_device` and `instance_number`, which is another one for each process. Summaries
keep their last 500 values for the quantiles.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

_KEPT = 500
_QUANTILES = (0.5, 0.9, 0.95, 0.99)
_Labels = tuple[tuple[str, str], ...]


class Kind(StrEnum):
    """How a figure behaves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    SUMMARY = "summary"


@dataclass
class _Series:
    """One combination of labels: its value, or the sum, count and last values of a summary."""

    value: float = 0.0
    count: int = 0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))


@dataclass
class Metric:
    """One figure; to be used from any thread."""

    name: str
    kind: Kind
    help: str
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _series: dict[_Labels, _Series] = field(default_factory=lambda: defaultdict(_Series))

    def add(self, amount: float = 1.0, /, **labels: str) -> None:
        """Count."""
        with self._lock:
            self._series[_key(labels)].value += amount

    def set(self, value: float, /, **labels: str) -> None:
        """Put a value in the place of the former one."""
        with self._lock:
            self._series[_key(labels)].value = value

    def observe(self, value: float, /, **labels: str) -> None:
        """Take one more value into a summary."""
        with self._lock:
            series = self._series[_key(labels)]
            series.value += value
            series.count += 1
            series.recent.append(value)

    def clear(self) -> None:
        """Forget all series, as those of modules that are gone."""
        with self._lock:
            self._series.clear()

    def lines(self, common: Mapping[str, str]) -> Iterable[str]:
        """Yield the text form."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {self.kind}"
        with self._lock:
            for key, series in sorted(self._series.items()):
                labels = {**common, **dict(key)}
                if self.kind is Kind.SUMMARY:
                    yield from self._summary(labels, series)
                else:
                    yield f"{self.name}{_braces(labels)} {_number(series.value)}"

    def _summary(self, labels: Mapping[str, str], series: _Series) -> Iterable[str]:
        ordered = sorted(series.recent)
        for quantile in _QUANTILES:
            value = ordered[min(int(quantile * len(ordered)), len(ordered) - 1)]
            yield f"{self.name}{_braces({**labels, 'quantile': str(quantile)})} {_number(value)}"
        yield f"{self.name}_sum{_braces(labels)} {_number(series.value)}"
        yield f"{self.name}_count{_braces(labels)} {series.count}"


class Registry:
    """All figures of a process."""

    def __init__(self, common: Mapping[str, str]) -> None:
        self._common = dict(common)
        self._metrics: list[Metric] = []

    def counter(self, name: str, text: str) -> Metric:
        """Make a figure that only grows."""
        return self._add(Metric(name, Kind.COUNTER, text))

    def gauge(self, name: str, text: str) -> Metric:
        """Make a figure that goes up and down."""
        return self._add(Metric(name, Kind.GAUGE, text))

    def summary(self, name: str, text: str) -> Metric:
        """Make a figure of many values."""
        return self._add(Metric(name, Kind.SUMMARY, text))

    def text(self) -> str:
        """Return the text form of all of them."""
        lines = [line for metric in self._metrics for line in metric.lines(self._common)]
        return "\n".join(lines) + "\n"

    def _add(self, metric: Metric) -> Metric:
        self._metrics.append(metric)
        return metric


def _key(labels: Mapping[str, str]) -> _Labels:
    return tuple(sorted(labels.items()))


def _braces(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return repr(value) if value % 1 else str(int(value))
