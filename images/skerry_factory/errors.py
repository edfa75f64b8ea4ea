"""What can go wrong in the factory, split by what the operator can do.

FactoryError                something the operator is told
 +- DefinitionError         image.toml or a command line value is wrong: every problem, each located
 +- CommandError            a program of the build failed: the command, its status, its last lines
 +- HygieneError            the image would carry something unique or secret: every finding
 +- BusyError               another build holds the lock
 +- MachineError            a virtual machine did not get where it should
"""

import shlex
from collections.abc import Sequence

from skerry.base.errors import SkerryError

SHOWN_LINES = 25


class FactoryError(SkerryError):
    """A condition of the factory with a message for people."""


class DefinitionError(FactoryError):
    """A definition or configuration with problems; `problems` holds one line for each."""

    def __init__(self, problems: Sequence[str], consequence: str) -> None:
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        super().__init__("\n".join([*problems, f"{count}; {consequence}"]))
        self.problems = tuple(problems)


class CommandError(FactoryError):
    """A program ended badly; the message shows it as one would type it, and what it said last."""

    def __init__(self, command: Sequence[str], status: int, output: str) -> None:
        lines = output.strip().splitlines()[-SHOWN_LINES:]
        told = "".join(f"\n    {line}" for line in lines)
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        super().__init__(f"{command[0]} {how}{told}\n  command: {shlex.join(command)}")
        self.command = tuple(command)
        self.status = status
        self.output = output


class HygieneError(FactoryError):
    """The tree carries what must never be in an image."""

    def __init__(self, findings: Sequence[str]) -> None:
        told = "".join(f"\n  {finding}" for finding in findings)
        super().__init__(
            f"the image would carry {len(findings)} unique or secret thing(s); "
            f"make the role that wrote them remove them{told}"
        )
        self.findings = tuple(findings)


class BusyError(FactoryError):
    """Another process works on the same thing."""


class MachineError(FactoryError):
    """A virtual machine failed, or did not reach a state in time."""
