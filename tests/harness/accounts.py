"""An account of the machine for the length of a test.

Each has a name of its own: a run that was killed leaves its account behind, and the next run must
not stumble over it.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def account(sub_ids: str) -> Iterator[str]:
    """Make an account with nothing but sub-ids (such as `900000-965535`); yields its name."""
    name = f"skerry-test-{os.getpid()}"
    subprocess.run(["useradd", "--no-create-home", name], check=True)
    try:
        for option in ("--add-subuids", "--add-subgids"):
            subprocess.run(["usermod", option, sub_ids, name], check=True)
        yield name
    finally:
        subprocess.run(["userdel", name], check=False)


def becoming(name: str) -> list[str]:
    """Return the words before a command that run it as this account."""
    return ["setpriv", "--reuid", name, "--regid", name, "--init-groups"]
