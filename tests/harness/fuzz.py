"""Coverage-guided fuzzing of Skerry's parsers with atheris, in a process of its own.

    tests/fuzz/targets/<domain>_<what>.py    one(data), ALLOWED, SEEDS
    tests/fuzz/corpus/<domain>_<what>/       inputs that reach new code, named by their sha1

A target is a module with `def one(data: bytes) -> None`, which may raise what `ALLOWED` names and
nothing else, and `SEEDS`, some valid inputs. Every committed input runs in `make test`; new ones
come from `python -m harness.fuzz NAME --seconds 60 --keep` (with PYTHONPATH=tests).
"""

import argparse
import contextlib
import hashlib
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests/fuzz"
_PATHS = [str(ROOT / name) for name in ("tests", "runtime", "images")]
_INPUT_SECONDS = 10
_INPUT_BYTES = 4096
_MEMORY_MIB = 1024


@dataclass(frozen=True)
class Target:
    """One parser under test."""

    name: str
    one: Callable[[bytes], None]
    allowed: tuple[type[Exception], ...]
    seeds: Sequence[bytes]

    def run(self, data: bytes) -> None:
        """Try an input; what it is allowed to raise is no failure."""
        with contextlib.suppress(*self.allowed):
            self.one(data)

    def inputs(self) -> Iterator[bytes]:
        """Yield the seeds and the committed corpus."""
        yield b""
        yield from self.seeds
        for path in sorted((FOLDER / "corpus" / self.name).glob("*")):
            yield path.read_bytes()


def names() -> list[str]:
    """Return the names of all targets."""
    return sorted(path.stem for path in (FOLDER / "targets").glob("*_*.py"))


def load(name: str) -> Target:
    """Import a target."""
    module = importlib.import_module(f"fuzz.targets.{name}")
    return Target(name, module.one, module.ALLOWED, module.SEEDS)


def fuzz(name: str, seconds: int, *, keep: bool = False) -> str:
    """Fuzz a target for some seconds; returns what atheris said, raises AssertionError.

    With `keep`, the inputs that reached new code are added to the corpus.
    """
    corpus = FOLDER / "corpus" / name
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        found, seeds = folder / "found", folder / "seeds"
        found.mkdir()
        seeds.mkdir()
        for data in load(name).inputs():
            (seeds / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
        run = subprocess.run(
            [
                sys.executable, "-m", "harness.fuzz", "--child", name, str(found), str(seeds),
                f"-max_total_time={seconds}", f"-timeout={_INPUT_SECONDS}",
                f"-rss_limit_mb={_MEMORY_MIB}", f"-max_len={_INPUT_BYTES}",
                f"-artifact_prefix={folder}/", "-print_final_stats=1",
            ],
            capture_output=True, text=True, errors="replace", timeout=seconds + 120, check=False,
            cwd=folder, env={**os.environ, "PYTHONPATH": ":".join(_PATHS)},
        )  # fmt: skip
        culprits = [path for path in folder.iterdir() if path.is_file()]
        shown = "\n".join(f"{path.name}: {path.read_bytes()[:500]!r}" for path in culprits)
        assert run.returncode == 0, f"{name} failed on\n{shown}\n{run.stdout}{run.stderr[-6000:]}"
        if keep:
            corpus.mkdir(parents=True, exist_ok=True)
            for path in found.iterdir():
                path.replace(corpus / path.name)
    return run.stderr


def _child(arguments: Sequence[str]) -> None:
    import atheris  # here, because only the fuzzing process needs it

    with atheris.instrument_imports(include=["skerry", "skerry_factory", "skerry_lab"]):
        target = load(arguments[0])
    atheris.Setup(["fuzz", *arguments[1:]], target.run)
    atheris.Fuzz()


def main() -> None:
    """Fuzz one target from the command line."""
    if sys.argv[1:2] == ["--child"]:
        _child(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="harness.fuzz")
    parser.add_argument("name", choices=names())
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument(
        "--keep", action="store_true", help="add what reached new code to the corpus"
    )
    options = parser.parse_args()
    sys.stdout.write(fuzz(options.name, options.seconds, keep=options.keep))


if __name__ == "__main__":
    main()
