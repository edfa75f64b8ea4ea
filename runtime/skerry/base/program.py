"""The frame of a command for people: what goes wrong becomes a message and an exit status.

Exit status: 0 done, 1 failed, 130 interrupted. A reader that has gone (a pager) is no error.
The message goes to standard error, after the program's name and without a traceback.
"""

import errno
import os
import sys
from collections.abc import Callable

from skerry.base.errors import SkerryError


def run_program(name: str, command: Callable[[], int]) -> int:
    """Run a command and return its exit status."""
    try:
        status = command()
        # here and not at exit, where a reader that has gone would be a complaint
        sys.stdout.flush()
    except SkerryError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        sys.stderr.write(f"{name}: {describe_os_error(error)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"{name}: interrupted\n")
        return 130
    return status


def describe_os_error(error: OSError) -> str:
    """Return what the operating system refused, on which file, and what to do about it."""
    about = f": {error.filename}" if error.filename else ""
    advice = "; free some space" if error.errno == errno.ENOSPC else ""
    return f"{error.strerror or error}{about}{advice}"
