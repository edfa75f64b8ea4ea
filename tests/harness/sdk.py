"""The stock Azure SDKs in an environment of their own, made once per lock file.

It lies in the cache, named by the digest of `requirements/sdk.lock`, and is renamed there when it
is whole: a run that was cut leaves none.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements/sdk.lock"
_INSTALL_SECONDS = 240


def python() -> Path:
    """Return the interpreter that has the SDKs."""
    cache = Path(os.environ.get("SKERRY_CACHE", Path.home() / ".cache/skerry")) / "sdk"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(LOCK.read_bytes() + version.encode()).hexdigest()[:32]
    ready = cache / digest
    if not ready.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            making = Path(folder) / "environment"
            uv = str(Path(sys.executable).parent / "uv")
            _run([uv, "venv", "--quiet", "--python", sys.executable, str(making)])
            target = ["--python", str(making / "bin/python"), "--require-hashes"]
            _run([uv, "pip", "install", "--quiet", *target, "-r", str(LOCK)])
            making.rename(ready)
    return ready / "bin/python"


def run(script: Path, *arguments: str, environment: Mapping[str, str]) -> str:
    """Run a script with the SDKs and return its output; it fails with what it said."""
    return _run(
        [str(python()), "-W", "ignore", str(script), *arguments], {**os.environ, **environment}
    )


def _run(command: list[str], environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
