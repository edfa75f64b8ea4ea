"""Killing a piece of work at each of its system calls that change files, one run per call.

The work runs in a forked child under ptrace, so calls of C libraries count like Python's own. Run n
is killed at the entry of the n-th such call, before it takes effect; after each the caller's check
looks at what is on disk. The last run is not killed.

Only the child's first thread is traced. The child must not leave processes of its own behind.
"""

import ctypes
import os
import platform
import signal
import struct
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

_TRACEME, _CONT, _SYSCALL, _SETOPTIONS, _SYSCALL_INFO = 0, 7, 24, 0x4200, 0x420E
_TRACE_SYSGOOD, _EXIT_KILL = 1, 0x100000
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_ENTRY = 1
_INFO = struct.Struct("=BxxxI2Q7Q")
_CREATES = os.O_CREAT | os.O_TRUNC

_CALLS = {
    "x86_64": {
        1: "write", 2: "open", 18: "write", 20: "write", 74: "fsync", 75: "fsync", 76: "truncate",
        77: "truncate", 82: "rename", 83: "mkdir", 84: "rmdir", 85: "create", 86: "link",
        87: "unlink", 88: "symlink", 90: "chmod", 91: "chmod", 92: "chown", 93: "chown",
        257: "openat", 258: "mkdir", 260: "chown", 263: "unlink", 264: "rename", 265: "link",
        266: "symlink", 268: "chmod", 316: "rename",
    },
    "aarch64": {
        34: "mkdir", 35: "unlink", 36: "symlink", 37: "link", 38: "rename", 45: "truncate",
        46: "truncate", 52: "chmod", 53: "chmod", 54: "chown", 55: "chown", 56: "openat",
        64: "write", 66: "write", 68: "write", 82: "fsync", 83: "fsync", 276: "rename",
    },
}[platform.machine()]  # fmt: skip


@dataclass
class KillPoints:
    """What was found: the name of each call at which a run was killed, in order."""

    calls: list[str] = field(default_factory=list)


def kill_at_every_write(
    prepare: Callable[[], None], work: Callable[[], None], check: Callable[[], None]
) -> KillPoints:
    """Kill `work` at its first, second, … call that changes files until it runs through.

    `prepare` lays out the state before each run, `check` asserts what has to hold after it; both
    run in this process. Raises AssertionError with the number and name of the call if a check
    fails, or with the child's traceback if the work itself does.
    """
    found = KillPoints()
    while True:
        prepare()
        call = _run(work, len(found.calls))
        try:
            check()
        except BaseException as error:
            place = "after the whole work" if call is None else f"killed at {call!r}"
            error.add_note(f"run {len(found.calls)}, {place}; before it: {found.calls}")
            raise
        if call is None:
            return found
        found.calls.append(call)


def _run(work: Callable[[], None], spared: int) -> str | None:
    """Run the work, sparing the first calls; return the call it was killed at, None if it ended."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _be_traced(work, write)
    os.close(write)
    with os.fdopen(read) as said:
        name = _trace(child, spared)
        trouble = said.read()
    assert not trouble, f"the work failed in run {spared}:\n{trouble}"
    return name


def _be_traced(work: Callable[[], None], report: int) -> None:
    status = 1
    try:
        _ptrace(_TRACEME, 0, 0, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        work()
        status = 0
    except BaseException:  # the child's end, whatever it is; the parent shows it
        os.write(report, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _trace(child: int, spared: int) -> str | None:
    _, status = os.waitpid(child, 0)
    assert os.WIFSTOPPED(status), "the child cannot be traced; is ptrace allowed here?"
    _ptrace(_SETOPTIONS, child, 0, _TRACE_SYSGOOD | _EXIT_KILL)
    passed = 0
    deliver = 0
    while True:
        _ptrace(_SYSCALL, child, 0, deliver)
        _, status = os.waitpid(child, 0)
        if not os.WIFSTOPPED(status):
            return None
        stopped_by = os.WSTOPSIG(status)
        deliver = 0 if stopped_by == _SYSCALL_STOP else stopped_by
        name = _file_change(child) if stopped_by == _SYSCALL_STOP else None
        if name is None:
            continue
        if passed == spared:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return name
        passed += 1


def _file_change(child: int) -> str | None:
    """Return the name of the call that the child is about to make, if it changes files."""
    buffer = ctypes.create_string_buffer(_INFO.size)
    _ptrace(_SYSCALL_INFO, child, _INFO.size, buffer)
    operation, _, _, _, number, first, second, third, *_ = _INFO.unpack(buffer.raw)
    name = _CALLS.get(number) if operation == _ENTRY else None
    if name in ("open", "openat"):
        flags = second if name == "open" else third
        return "create" if flags & _CREATES else None
    if name == "write" and first in (1, 2):
        return None
    return name


def _ptrace(request: int, child: int, address: int, data: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    value = ctypes.c_void_p(data) if isinstance(data, int) else data
    if libc.ptrace(request, child, ctypes.c_void_p(address), value) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
