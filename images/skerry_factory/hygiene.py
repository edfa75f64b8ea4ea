"""Finds what must never be in an image: what is unique to one device, and what is secret.

A finding names the path and the reason. The rules look at names (host keys, machine identity,
build debris, logs) and at contents (private keys, tokens, connection strings, password hashes).
`find_leaks` reads regular files of at most 2 MiB; larger ones and binaries of packages are
searched for private keys only. There is no list of exceptions: a rule that fires on a clean tree
is a wrong rule.
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase, translate
from math import log2
from pathlib import Path

READ_BYTES = 2 << 20


@dataclass(frozen=True)
class NameRule:
    """Paths that must not exist, or must be empty, in an image."""

    pattern: str
    reason: str
    may_be_empty: bool = False


NAME_RULES = (
    NameRule("etc/ssh/ssh_host_*", "SSH host key; each device makes its own"),
    NameRule("*/ssh_host_*_key*", "SSH host key; each device makes its own"),
    NameRule("ssh", "SSH host keys; each device makes its own", may_be_empty=True),
    NameRule("machine-id", "identity of one machine"),
    NameRule("etc/machine-id", "identity of one machine", may_be_empty=True),
    NameRule("var/lib/dbus/machine-id", "identity of one machine"),
    NameRule("var/lib/systemd/random-seed", "random seed; the same on every device"),
    NameRule("*/random-seed", "random seed; the same on every device"),
    NameRule("etc/hostid", "identity of one machine"),
    NameRule("etc/hostname", "host name of one machine", may_be_empty=True),
    NameRule("etc/adjtime", "clock drift of one machine"),
    NameRule("var/lib/systemd/credential.secret", "secret of one machine"),
    NameRule("var/lib/cloud/*", "cloud instance data"),
    NameRule("var/lib/dhcp/*", "network lease of one machine"),
    NameRule("var/lib/NetworkManager/*", "network state of one machine"),
    NameRule("etc/NetworkManager/system-connections/*", "network secret"),
    NameRule("etc/wpa_supplicant/*.conf", "network secret"),
    NameRule("etc/resolv.conf.*", "resolver of the build machine"),
    NameRule("*/.ansible*", "left-over of Ansible"),
    NameRule("tmp/*", "temporary file"),
    NameRule("var/tmp/*", "temporary file"),
    NameRule("run/*", "run-time file"),
    NameRule("root/[!.]*", "file of an administrator"),
    NameRule("*/.bash_history", "shell history"),
    NameRule("*/.python_history", "shell history"),
    NameRule("*/.lesshst", "history"),
    NameRule("*/.viminfo", "history"),
    NameRule("*/.wget-hsts", "history"),
    NameRule("*/.netrc", "credentials"),
    NameRule("*/.git-credentials", "credentials"),
    NameRule("*/.pgpass", "credentials"),
    NameRule("*/.docker/config.json", "credentials"),
    NameRule("*/.aws/*", "credentials"),
    NameRule("*/.azure/*", "credentials"),
    NameRule("*/.ssh/id_*", "private SSH key"),
    NameRule("*/.ssh/known_hosts", "hosts that the builder knows"),
    NameRule("*/.gnupg/*", "private keyring"),
    NameRule("*/.cache/*", "cache of a user"),
    NameRule("var/log/journal/*", "log of the build"),
    NameRule("var/log/apt/*", "log of the build"),
    NameRule("var/log/*.log", "log of the build"),
    NameRule("var/log/[bw]tmp*", "log-ins"),
    NameRule("var/log/lastlog", "log-ins"),
    NameRule("var/cache/apt/*", "package cache"),
    NameRule("var/cache/skerry-build*", "files of the build"),
    NameRule("var/lib/apt/lists/*", "package lists"),
    NameRule("var/crash/*", "crash dump"),
    NameRule("var/lib/systemd/coredump/*", "crash dump"),
    NameRule("var/cache/ldconfig/aux-cache", "cache with times of the build"),
    NameRule("*.dpkg-old", "left-over of the package manager"),
    NameRule("*.swp", "left-over of an editor"),
    NameRule("*~", "left-over of an editor"),
    NameRule("etc/*.pyc", "compiled Python outside of a package"),
    NameRule("etc/skerry/generations/*", "configuration of one device"),
    NameRule("etc/skerry/config.toml", "configuration of one device"),
    NameRule("etc/skerry/ssh/*", "keys of one site"),
    NameRule("lib/skerry/*/*", "state of one device"),
    NameRule("lib/docker/*", "containers of one device"),
    NameRule("lib/containerd/*", "containers of one device"),
)

_ANY_NAME = re.compile("|".join(translate(rule.pattern) for rule in NAME_RULES))


@dataclass(frozen=True)
class TextRule:
    """Text that must not occur in any file."""

    expression: "re.Pattern[bytes]"
    reason: str


# the marker is split so that this file is not a finding of itself in the runtime's tests
_BEGIN = b"-----BEGIN "
PRIVATE_KEY = TextRule(
    re.compile(
        _BEGIN + rb"(?:RSA |EC |DSA |ENCRYPTED |OPENSSH )?PRIVATE KEY(?: BLOCK)?-----"
        rb"\s+[A-Za-z0-9+/=:, \r\n-]{40}"
    ),
    "private key",
)
TEXT_RULES = (
    PRIVATE_KEY,
    TextRule(re.compile(rb"SharedAccessKey=[A-Za-z0-9+/]{16,}"), "connection string with a key"),
    TextRule(re.compile(rb"SharedAccessSignature sr=[^\s<{]+&sig=[A-Za-z0-9%]{16,}"), "SAS token"),
    TextRule(re.compile(rb"AccountKey=[A-Za-z0-9+/]{32,}"), "storage account key"),
    TextRule(re.compile(rb"\bAKIA[0-9A-Z]{16}\b"), "cloud access key"),
    TextRule(re.compile(rb"\bgh[pousr]_[A-Za-z0-9]{36,}\b"), "access token"),
    TextRule(re.compile(rb"\bglpat-[A-Za-z0-9_-]{20,}\b"), "access token"),
    TextRule(re.compile(rb"\bxox[abp]-[0-9A-Za-z-]{20,}"), "access token"),
    TextRule(re.compile(rb"\beyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{20,}"), "JSON web token"),
    TextRule(re.compile(rb"AGE-SECRET-KEY-1[0-9A-Z]{50,}"), "private key"),
    TextRule(re.compile(rb"://[^/\s:@]{1,64}:[^/\s:@$<{]{6,}@[a-z0-9]"), "address with a password"),
)
"""Looked for in configuration, state and homes; PRIVATE_KEY everywhere."""

SECRET_ASSIGNMENT = re.compile(
    rb"(?im)^[ \t\"']*(?:[a-z0-9]+[_-])*(?:password|passphrase|secret|token|api_?key|primary_key)"
    rb"[\"']?[ \t]*[=:][ \t]*[\"']?([A-Za-z0-9+/_=-]{20,})"
)
CONFIGURATION = ("etc/", "var/lib/skerry/", "home/", "root/", "opt/", "srv/", "usr/local/")
SHADOW = ("etc/shadow", "etc/gshadow", "etc/shadow-", "etc/gshadow-")
MAX_PLAIN_ENTROPY_BITS = 4.0


def find_leaks(root: Path) -> list[str]:
    """Return `path: reason` for everything in a tree that an image must not have."""
    found = []
    for path, status in _walk(root):
        name = path.relative_to(root).as_posix()
        reason = _name_reason(name, path, status) or _content_reason(name, path, status)
        if reason is not None:
            found.append(f"{name}: {reason}")
    return found


def _walk(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = Path(folder) / name
            yield path, path.lstat()


def _name_reason(name: str, path: Path, status: os.stat_result) -> str | None:
    if _ANY_NAME.match(name):
        for rule in NAME_RULES:
            if fnmatchcase(name, rule.pattern) and not _tolerated(rule, path, status):
                return rule.reason
    if name.endswith(".pyc") and not name.startswith(("usr/lib/", "usr/share/")):
        return "compiled Python outside of a package"
    if name == "etc/resolv.conf" and not stat.S_ISLNK(status.st_mode) and status.st_size:
        return "resolver of the build machine"
    if stat.S_ISSOCK(status.st_mode) or stat.S_ISFIFO(status.st_mode):
        return "socket or pipe of a process"
    return None


def _tolerated(rule: NameRule, path: Path, status: os.stat_result) -> bool:
    if stat.S_ISLNK(status.st_mode):
        return path.readlink().as_posix() == "/etc/machine-id"
    if stat.S_ISDIR(status.st_mode):
        return True
    return rule.may_be_empty and status.st_size == 0


def _content_reason(name: str, path: Path, status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return None
    with path.open("rb") as file:
        data = file.read(READ_BYTES)
    if _BEGIN in data and PRIVATE_KEY.expression.search(data) and not _is_program(data):
        return PRIVATE_KEY.reason
    if name in SHADOW:
        return "password hash" if re.search(rb"(?m)^[^:\n]+:[^:!*\n]", data) else None
    if not name.startswith(CONFIGURATION):
        return None
    for rule in TEXT_RULES:
        if rule.expression.search(data):
            return rule.reason
    return _secret_in(data)


def _secret_in(data: bytes) -> str | None:
    for match in SECRET_ASSIGNMENT.finditer(data):
        if entropy_bits(match[1]) > MAX_PLAIN_ENTROPY_BITS:
            return "value that looks like a secret"
    return None


def _is_program(data: bytes) -> bool:
    return data.startswith(b"\x7fELF")


def entropy_bits(text: bytes) -> float:
    """Return Shannon's entropy per byte of a text, in bits."""
    counts = [text.count(byte) for byte in set(text)]
    return -sum(count / len(text) * log2(count / len(text)) for count in counts)
