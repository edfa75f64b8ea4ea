"""A PKCS#11 token in software: SoftHSM2, from the system's packages.

SoftHSM reads its settings when a process first uses it, so the tests that run keyd in this process
share one folder of tokens; each token is told by its label.
"""

import itertools
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

LIBRARY = "/usr/lib/softhsm/libsofthsm2.so"
PIN, SECURITY_OFFICER_PIN = "pin-canary-4711", "officer-canary-4712"


@dataclass
class SoftHsm:
    """A folder of tokens; SOFTHSM2_CONF of this process and its children names it."""

    folder: Path
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        tokens = self.folder / "tokens"
        tokens.mkdir()
        settings = self.folder / "softhsm2.conf"
        settings.write_text(
            f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        os.environ["SOFTHSM2_CONF"] = str(settings)

    def token(self, label: str) -> str:
        """Initialise a token; returns its URI with the PIN."""
        self.run("softhsm2-util", "--init-token", "--free", f"--label={label}",
                 f"--so-pin={SECURITY_OFFICER_PIN}", f"--pin={PIN}")  # fmt: skip
        return f"pkcs11:token={label}?pin-value={PIN}"

    def run(self, *command: str) -> str:
        """Run a program of SoftHSM."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
