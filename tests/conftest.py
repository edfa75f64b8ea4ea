"""Rules of every test run: tiers in order, a time limit for each, no silent skip in CI.

Also a record of the repeats that were run, for `bench/results/counts.json`.
"""

import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from harness.softhsm import SoftHsm
from harness.tiers import TIMEOUT_SECONDS, Counts, Durations, tier_of

ROOT = Path(__file__).resolve().parents[1]

CI_MAY_SKIP: dict[str, str] = {}
"""Node id -> why continuous integration may skip this test. What else skips there fails."""

TIER = pytest.StashKey[str]()
COUNTS = pytest.StashKey[Counts]()
DURATIONS = pytest.StashKey[Durations]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COUNTS] = Counts(full=os.environ.get("SKERRY_COUNTS") == "full")
    config.stash[DURATIONS] = Durations()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        tier = tier_of(mark.name for mark in item.iter_markers())
        item.stash[TIER] = tier
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS[tier]))
    order = list(TIMEOUT_SECONDS)
    items.sort(key=lambda item: order.index(item.stash[TIER]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    expected_failure = hasattr(report, "wasxfail")
    if (
        report.skipped
        and not expected_failure
        and os.environ.get("CI") == "true"
        and item.nodeid not in CI_MAY_SKIP
    ):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where every prerequisite must be met: {reason}"
    item.config.stash[DURATIONS].add(
        item.stash[TIER], report.duration, finished=report.when == "teardown"
    )
    return report


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Generator[None]:
    """A program under test sets up the log of this process; its stream is gone after the test."""
    logger = logging.getLogger("skerry")
    before = (list(logger.handlers), logger.propagate, logger.level)
    yield
    logger.handlers, logger.propagate = before[0], before[1]
    logger.setLevel(before[2])


@pytest.fixture(scope="session")
def counts(pytestconfig: pytest.Config) -> Counts:
    return pytestconfig.stash[COUNTS]


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    """Tokens in software: those that are there when this process first uses one, and no others.

    `Skerry` for new keys of keyd, `Foreign` with others' keys, `Closed` never opened, `Release` for
    images.
    """
    before = os.environ.get("SOFTHSM2_CONF")
    tokens = SoftHsm(tmp_path_factory.mktemp("softhsm"))
    for label in ("Skerry", "Foreign", "Closed", "Release"):
        tokens.token(label)
    yield tokens
    if before is None:
        os.environ.pop("SOFTHSM2_CONF", None)
    else:
        os.environ["SOFTHSM2_CONF"] = before


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    lines = config.stash[DURATIONS].lines()
    if len(lines) > 1:
        terminalreporter.section("tiers")
        for line in lines:
            terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if "SKERRY_COUNTS" in os.environ:
        tests = session.config.stash[DURATIONS].tests
        session.config.stash[COUNTS].write(ROOT / "bench/results/counts.json", tests)
