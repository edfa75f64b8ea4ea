"""One look at an appliance: files and command outputs of a whole module in one remote command.

A command over SSH to an emulated machine takes seconds, and testinfra sends one for every property
of a file. The verify modules say what they want to see, look once, and assert on what was seen.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from testinfra.host import Host

RUNNING = "systemctl is-system-running"
CONFIGURED = "/etc/skerry/current"
COMMAND_SECONDS = 60
SCRIPT = """
import grp, json, os, pwd, stat, subprocess, sys
paths, commands, seconds = json.loads(sys.argv[1])
def name(table, number):
    try:
        return table(number)[0]
    except KeyError:
        return str(number)
def see(path):
    try:
        s = os.lstat(path)
    except OSError:
        return None
    link = os.readlink(path) if stat.S_ISLNK(s.st_mode) else None
    user, group = name(pwd.getpwuid, s.st_uid), name(grp.getgrgid, s.st_gid)
    return [user, group, stat.S_IMODE(s.st_mode), s.st_size, link]
def hear(command):
    try:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return [-1, "", f"no end after {seconds} s"]
    return [done.returncode, done.stdout, done.stderr]
print(json.dumps([{p: see(p) for p in paths}, {c: hear(c) for c in commands}]))
"""


@dataclass(frozen=True)
class File:
    """What lstat says; `link` is the target of a symbolic link."""

    user: str
    group: str
    mode: int
    size: int
    link: str | None


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    status: int
    output: str
    errors: str

    def ok(self) -> str:
        """Return the output without its last line end; the command must have ended well."""
        assert self.status == 0, self.errors or self.output
        return self.output.rstrip("\n")


@dataclass(frozen=True)
class Seen:
    """What one look saw, by the path or command that was asked for."""

    files: dict[str, File | None]
    said: dict[str, Said]

    @property
    def booted(self) -> bool:
        """Whether systemd runs there, or a tree is only looked at."""
        return self.said[RUNNING].output.strip() not in ("offline", "")

    @property
    def configured(self) -> bool:
        return self.booted and self.files[CONFIGURED] is not None

    def file(self, path: str) -> File:
        """Return a file that has to be there."""
        found = self.files[path]
        assert found is not None, f"{path} does not exist"
        return found


def look(host: Host, paths: Sequence[str] = (), commands: Sequence[str] = ()) -> Seen:
    """Look at `paths`, then run `commands` in a shell one after another."""
    wanted = json.dumps([[*paths, CONFIGURED], [RUNNING, *commands], COMMAND_SECONDS])
    answer = host.run(f"python3 -I -c {shlex.quote(SCRIPT)} {shlex.quote(wanted)}")
    assert answer.rc == 0, answer.stderr
    files, said = json.loads(answer.stdout)
    return Seen(
        {path: None if entry is None else File(*entry) for path, entry in files.items()},
        {command: Said(*entry) for command, entry in said.items()},
    )
