"""The figures of a process and their text form (Prometheus, version 0.0.4), under upstream's names.

Every series has the labels `iothub`, `edge_device` and `instance_number`, which is another one for
each process, then its own in the order in which they are given.

Invariants
- A `Metric` may be used from any thread. A `Series` is for one thread, and so cheap that it may be
  used for every message; whoever reads sees count and sum of the same moment.
- Summaries keep their last values for the quantiles, which are NaN when none came for 10 minutes.
- At most `MOST_SERIES` combinations of labels are kept of a metric, since clients choose some of
  them; what comes beyond counts under `(others)`.

Source: azure-iot-edge.md §5.7, §6.11.
"""

import threading
import time
from array import array
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from math import isnan

MOST_SERIES = 4096
OTHERS = "(others)"

_KEPT, _FRESH = 256, 256
_STALE_SECONDS = 600.0
_QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999, 0.9999)
_Labels = tuple[tuple[str, str], ...]


class Kind(StrEnum):
    """How a figure behaves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    SUMMARY = "summary"


class Series:
    """One combination of labels; to be used by one thread."""

    __slots__ = ("_count", "_kept", "_lock", "_seen", "_seen_at", "fresh", "value")

    def __init__(self, lock: threading.Lock) -> None:
        self.value = 0.0
        """Of a counter or gauge; of a summary the sum of what is folded."""
        self._lock = lock
        self._count = 0
        self._seen, self._seen_at = 0, 0.0
        self._kept = array("d")
        self.fresh = array("d")
        """Values of a summary that are not folded."""

    def observe(self, value: float) -> None:
        """Take one more value into a summary."""
        fresh = self.fresh
        fresh.append(value)
        if len(fresh) >= _FRESH:
            with self._lock:
                self.fold()

    def fold(self) -> None:
        """Sum up what came; with the metric's lock held."""
        fresh, self.fresh = self.fresh, array("d")
        self._count += len(fresh)
        self.value += sum(fresh)
        self._kept = (self._kept + fresh)[-_KEPT:]

    def summary(self, now: float) -> tuple[float, int, list[float]]:
        """Return sum, count and the last values in order, none when they are old.

        To be called with the metric's lock held; `now` is monotonic.
        """
        fresh = self.fresh[:]
        count = self._count + len(fresh)
        if count != self._seen:
            self._seen, self._seen_at = count, now
        is_stale = now - self._seen_at > _STALE_SECONDS
        last = [] if is_stale else sorted((self._kept + fresh)[-_KEPT:])
        return self.value + sum(fresh), count, last


class Metric:
    """One figure; to be used from any thread."""

    def __init__(self, name: str, kind: Kind, text: str) -> None:
        self.name = name
        self.kind = kind
        self._help = text
        self._lock = threading.Lock()
        self._series: dict[_Labels, Series] = {}

    def of(self, **labels: str) -> Series:
        """Return a series, to be kept by who counts often."""
        with self._lock:
            return self._of(labels)

    def add(self, amount: float = 1.0, /, **labels: str) -> None:
        """Count."""
        with self._lock:
            self._of(labels).value += amount

    def set(self, value: float, /, **labels: str) -> None:
        """Put a value in the place of the former one."""
        with self._lock:
            self._of(labels).value = value

    def observe(self, value: float, /, **labels: str) -> None:
        """Take one more value into a summary."""
        with self._lock:
            series = self._of(labels)
            series.fresh.append(value)
            series.fold()

    def clear(self) -> None:
        """Forget all series, as those of modules that are gone."""
        with self._lock:
            self._series.clear()

    def lines(self, common: Mapping[str, str], now: float) -> Iterable[str]:
        """Yield the text form; `now` is monotonic."""
        yield f"# HELP {self.name} {self._help}"
        yield f"# TYPE {self.name} {self.kind}"
        with self._lock:
            for key, series in sorted(self._series.items()):
                labels = {**common, **dict(key)}
                if self.kind is Kind.SUMMARY:
                    yield from self._summary(labels, series, now)
                else:
                    yield f"{self.name}{_braces(labels)} {_number(series.value)}"

    def _of(self, labels: Mapping[str, str]) -> Series:
        key = tuple(labels.items())
        found = self._series.get(key)
        if found is None:
            if len(self._series) >= MOST_SERIES:
                key = tuple((name, OTHERS) for name in labels)
            found = self._series.setdefault(key, Series(self._lock))
        return found

    def _summary(self, labels: Mapping[str, str], series: Series, now: float) -> Iterable[str]:
        total, count, ordered = series.summary(now)
        for quantile in _QUANTILES:
            last = len(ordered) - 1
            value = ordered[min(int(quantile * len(ordered)), last)] if ordered else float("nan")
            yield f"{self.name}{_braces({**labels, 'quantile': str(quantile)})} {_number(value)}"
        yield f"{self.name}_sum{_braces(labels)} {_number(total)}"
        yield f"{self.name}_count{_braces(labels)} {count}"


class Registry:
    """All figures of a process."""

    def __init__(
        self, common: Mapping[str, str], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._common = dict(common)
        self._monotonic = monotonic
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
        now = self._monotonic()
        lines = [line for metric in self._metrics for line in metric.lines(self._common, now)]
        return "\n".join(lines) + "\n"

    def _add(self, metric: Metric) -> Metric:
        self._metrics.append(metric)
        return metric


def _braces(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if isnan(value):
        return "NaN"
    return repr(value) if value % 1 else str(int(value))
