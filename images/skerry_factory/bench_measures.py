"""What the bench measures: builds against a bare mmdebstrap, and a booted appliance at rest.

Peers are measured in turn with what they are compared to, so that a busy machine slows both. Every
cold build has a cache of its own. Memory is read when the services that rest have gone to rest.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from skerry_factory.bench import Result, read_lines, summarise
from skerry_factory.bootstrap import plan_bootstrap
from skerry_factory.build import build_image
from skerry_factory.cache import remove_tree
from skerry_factory.command import run_command
from skerry_factory.definition import Definition, load_definition
from skerry_factory.demo import SENSOR, Method, Patience, run_demo
from skerry_factory.demo_parts import RealParts
from skerry_factory.errors import FactoryError
from skerry_factory.paths import Checkout
from skerry_factory.progress import Progress

MEGABYTE = 1_000_000
COLD_RATIO, REBUILD_SECONDS, NO_OP_SECONDS, NATIVE_MEGABYTES = 1.3, 10.0, 1.0, 60.0
REST_SECONDS = 90.0
SAMPLE_SECONDS = 10.0
SAMPLES = 6


@dataclass(frozen=True)
class Bench:
    """One run of the bench; `work` holds the caches and images that it makes."""

    definition: Definition
    checkout: Checkout
    config: Path
    work: Path
    progress: Progress
    runs: int

    def builds(self) -> Iterator[Result]:
        """Cold build with its peer, no-op build, rebuild after a change of one line."""
        cold: list[float] = []
        bare: list[float] = []
        for run in range(self.runs):
            cache, out = self.work / f"cache-{run}", self.work / f"out-{run}"
            cold.append(timed(partial(self._build, self.definition, out, cache)))
            bare.append(self._bare())
            if run < self.runs - 1:
                remove_tree(cache)
                remove_tree(out)
        yield summarise("cold build", cold, "s", target=COLD_RATIO, peers=bare)
        again = [timed(partial(self._build, self.definition, out, cache)) for _ in range(5)]
        yield summarise("build, nothing to do", again, "s", target=NO_OP_SECONDS)
        changed = [timed(self._rebuild(run, cache)) for run in range(self.runs)]
        yield summarise("build, one line changed", changed, "s", target=REBUILD_SECONDS)

    def appliance(self, cache: Path, out: Path) -> Iterator[Result]:
        """Demonstrations with everything built, then memory of the native services at rest."""
        demos: list[float] = []
        boots: list[float] = []
        for _ in range(self.runs):
            demo = run_demo(self._parts(cache, out), self.progress, Patience())
            if not demo.done:
                raise FactoryError(f"the demonstration failed: {demo.problem}")
            seconds = {row.step: row.seconds for row in demo.rows}
            demos.append(sum(seconds.values()))
            boots.append(seconds["boot"] + seconds["identity"] + seconds["workload"])
        yield summarise("boot to workload", boots, "s")
        yield summarise("demonstration, image built", demos, "s")
        memory = self._memory_at_rest(self._parts(cache, out))
        yield summarise("native services at rest, PSS", memory, "MB", target=NATIVE_MEGABYTES)

    def _memory_at_rest(self, parts: RealParts) -> list[float]:
        parts.stamp()
        patience = Patience()
        step_of_memory = self.progress.step("memory", "PSS of the native services")
        with step_of_memory as step, parts.boot(step) as appliance:
            step.waits_for("the workload")
            patience.wait_until(
                lambda: appliance.workload(SENSOR), patience.workload_seconds, "no workload"
            )
            step.waits_for(f"the services to rest, {REST_SECONDS:.0f} s")
            time.sleep(REST_SECONDS)
            samples: list[float] = []
            for _ in range(SAMPLES):
                samples.append(appliance.native_pss_bytes() / MEGABYTE)
                time.sleep(SAMPLE_SECONDS)
        return samples

    def _parts(self, cache: Path, out: Path) -> RealParts:
        return RealParts(
            definition=self.definition,
            method=Method.STANDALONE,
            config=self.config,
            device="bench",
            out=out,
            cache=cache,
            folder=self.work / "demo",
            progress=self.progress,
        )

    def _build(self, definition: Definition, out: Path, cache: Path) -> None:
        build_image(definition, out, cache, self.progress)

    def _bare(self) -> float:
        plan = plan_bootstrap(self.definition, self.checkout, None)
        command = ["mmdebstrap", "--variant=minbase", "--format=directory"]
        command += [f"--architectures={plan.arch}", f"--include={','.join(plan.packages)}"]
        with self.progress.step("peer", "bare mmdebstrap") as step:
            step.waits_for("the same packages from the same archive")
            with TemporaryDirectory(dir=self.work, prefix="bare-") as folder:
                return timed(partial(run_command, [*command, plan.suite, f"{folder}/tree"]))

    def _rebuild(self, run: int, cache: Path) -> Callable[[], None]:
        """Return a build of the definition with another host name, in a cache that is filled."""
        folder = self.work / f"changed-{run}" / self.definition.id
        folder.mkdir(parents=True)
        run_command(["cp", "-a", f"{self.definition.file.parent}/.", str(folder)])
        file = folder / "image.toml"
        text = file.read_text("utf-8")
        changed = text.replace('"{serial}"', f'"site-{run}-{{serial}}"', 1)
        if changed == text:
            raise FactoryError(f"{file} has no hostname of '{{serial}}' to change")
        file.write_text(changed, "utf-8")
        out = self.work / f"out-changed-{run}"
        return lambda: self._build(load_definition(file), out, cache)


def services(checkout: Checkout, work: Path) -> list[Result]:
    """Return the figures of tests/perf: the services as processes on this machine."""
    figures = work / "figures"
    figures.touch()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "perf",
        str(checkout.root / "tests/perf"),
    ]
    done = subprocess.run(
        command,
        cwd=checkout.root,
        env={**os.environ, "SKERRY_FIGURES": str(figures)},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        check=False,
    )
    if done.returncode not in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise FactoryError(f"the measurements of tests/perf failed (pytest {done.returncode})")
    return read_lines(figures)


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds some work takes."""
    start = time.monotonic()
    work()
    return time.monotonic() - start
