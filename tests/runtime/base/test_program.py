"""What a command's end looks like to people and to scripts."""

import errno
from collections.abc import Callable

import pytest

from skerry.base.errors import SkerryError
from skerry.base.program import run_program


def raising(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (lambda: 0, 0, ""),
        (lambda: 2, 2, ""),
        (raising(SkerryError("it is 'x', expected 'y'")), 1, "tool: it is 'x', expected 'y'\n"),
        (raising(KeyboardInterrupt()), 130, "tool: interrupted\n"),
        (
            raising(PermissionError(errno.EACCES, "Permission denied", "/a")),
            1,
            "tool: Permission denied: /a\n",
        ),
        (
            raising(OSError(errno.ENOSPC, "No space left on device", "/a")),
            1,
            "tool: No space left on device: /a; free some space\n",
        ),
        (raising(OSError("odd")), 1, "tool: odd\n"),
    ],
)
def test_ends_have_a_status_and_a_message(
    capsys: pytest.CaptureFixture[str], command: Callable[[], int], status: int, said: str
) -> None:
    """No traceback, the program's name first, and what to do where that is known."""
    assert run_program("tool", command) == status
    assert capsys.readouterr().err == said


def test_a_defect_is_not_hidden() -> None:
    """What nobody foresaw keeps its traceback."""
    with pytest.raises(ZeroDivisionError):
        run_program("tool", lambda: 1 // 0)
