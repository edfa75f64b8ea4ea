"""The bench: measured figures, their form in JSON, and the table made of them.

A figure is the median of its runs, with the smallest and largest beside it. A target is a bound
from above (of a rate, unit `…/s`, from below), on the value or, where a peer was measured in the
same run, on the ratio to the peer's median. A missed target is shown as missed and fails nothing:
a measurement is not a test.

    bench/results/latest.json   docs/interfaces.md section 8
    bench/README.md             the table, between two markers
"""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from skerry.base.files import write_atomic

START, END = "<!-- table -->", "<!-- /table -->"


@dataclass(frozen=True)
class Result:
    """One figure; `peer` is the median of what it is compared with, in the same unit."""

    name: str
    value: float
    unit: str
    min: float
    max: float
    runs: int
    target: float | None = None
    peer: float | None = None
    ratio: float | None = None
    met: bool | None = None


def summarise(
    name: str,
    values: Sequence[float],
    unit: str,
    *,
    target: float | None = None,
    peers: Sequence[float] = (),
) -> Result:
    """Return the figure of some runs; with `peers` the target bounds the ratio, not the value."""
    value = statistics.median(values)
    peer = statistics.median(peers) if peers else None
    ratio = value / peer if peer is not None else None
    bounded = value if ratio is None else ratio
    return Result(
        name,
        round(value, 3),
        unit,
        round(min(values), 3),
        round(max(values), 3),
        len(values),
        target,
        None if peer is None else round(peer, 3),
        None if ratio is None else round(ratio, 3),
        None if target is None else (bounded >= target if _is_rate(unit) else bounded <= target),
    )


def _is_rate(unit: str) -> bool:
    return unit.endswith("/s")


def read_lines(path: Path) -> list[Result]:
    """Return the figures of a file that has one as JSON on each line, as tests/perf writes it."""
    return [Result(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def machine(kvm: str) -> dict[str, object]:
    """Return what the figures were taken on; `kvm` says whether machines run emulated."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "processor": _processor(),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "kernel": platform.release(),
        "virtual_machines": kvm,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def document(described: dict[str, object], results: Sequence[Result]) -> dict[str, object]:
    """Return the content of latest.json."""
    return {"machine": described, "results": [asdict(result) for result in results]}


def table(described: dict[str, object], results: Sequence[Result]) -> str:
    """Return the table for people, as Markdown."""
    rows = [
        "| figure | median | min | max | runs | target | peer | ratio | met |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        *(_row(result) for result in results),
    ]
    facts = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in described.items())
    return "\n".join([*rows, "", f"Machine: {facts}."])


def _row(result: Result) -> str:
    target = (
        ""
        if result.target is None
        else f"{'≥' if _is_rate(result.unit) else '≤'} {result.target:g}"
    )
    if result.target is not None:
        target += " × peer" if result.ratio is not None else f" {result.unit}"
    cells = [
        result.name,
        f"{result.value:g} {result.unit}",
        f"{result.min:g}",
        f"{result.max:g}",
        str(result.runs),
        target,
        "" if result.peer is None else f"{result.peer:g} {result.unit}",
        "" if result.ratio is None else f"{result.ratio:.2f}",
        {True: "yes", False: "no", None: ""}[result.met],
    ]
    return f"| {' | '.join(cells)} |"


def write(folder: Path, described: dict[str, object], results: Sequence[Result]) -> None:
    """Write latest.json and put the table between the markers of README.md in `folder`."""
    text = json.dumps(document(described, results), indent=2) + "\n"
    (folder / "results").mkdir(exist_ok=True)
    write_atomic(folder / "results/latest.json", text.encode(), mode=0o644)
    page = folder / "README.md"
    before, _, rest = page.read_text().partition(START)
    _, _, after = rest.partition(END)
    filled = f"{before}{START}\n{table(described, results)}\n{END}{after}"
    write_atomic(page, filled.encode(), mode=0o644)
