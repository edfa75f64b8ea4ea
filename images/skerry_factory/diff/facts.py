"""What an image says of itself, read from its files: each area a table of names and values.

packages    name:arch -> version                  users, groups   name -> what they are
units       enabled or masked in /etc             sockets         unit -> what it listens on
partitions  name -> place, size, type             boot            file or UKI section -> sha256
kernel      argument -> how often and its values
"""

import hashlib
from collections.abc import Mapping

from skerry_factory.contents.model import Contents, Entry, Kind
from skerry_factory.packages import packages_of_status
from skerry_factory.uki import read_sections

UNITS = "etc/systemd/system/"
UNIT_FOLDERS = (UNITS, "usr/lib/systemd/system/", "lib/systemd/system/")
NO_SHELL = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false", "/bin/sync")
LISTENS = ("listenstream", "listendatagram", "listensequentialpacket", "listennetlink")
TEXT_SECTIONS = (".cmdline", ".osrel", ".uname")
TRUSTED = (
    "usr/share/keyrings/",
    "etc/apt/trusted.gpg.d/",
    "etc/apt/keyrings/",
    "etc/sudoers",
    "usr/local/share/ca-certificates/",
    "etc/ssh/",
    "etc/pam.d/",
)

Facts = Mapping[str, str]


def packages(contents: Contents) -> Facts:
    """Return the version of each installed Debian package."""
    found = packages_of_status(contents.text("var/lib/dpkg/status"))
    return {f"{one['name']}:{one['arch']}": one["version"] for one in found}


def users(contents: Contents) -> Facts:
    """Return number, group, home, shell and the state of the password of each user."""
    states = {}
    for fields in _lines(contents, "etc/shadow", 2):
        states[fields[0]] = (
            "locked" if fields[1][:1] in ("!", "*") else "set" if fields[1] else "none"
        )
    return {
        name: f"uid {uid}, gid {gid}, home {home}, shell {shell or '/bin/sh'}, "
        f"password {states.get(name, 'unknown')}"
        for name, _, uid, gid, _, home, shell in _lines(contents, "etc/passwd", 7)
    }


def groups(contents: Contents) -> Facts:
    """Return number and members of each group."""
    return {
        name: f"gid {gid}, members {members or '-'}"
        for name, _, gid, members in _lines(contents, "etc/group", 4)
    }


def units(contents: Contents) -> Facts:
    """Return what /etc enables, masks or aliases."""
    found = {}
    for path, entry in contents.entries.items():
        if path.startswith(UNITS) and entry.kind is Kind.LINK:
            name = path.removeprefix(UNITS)
            masked = entry.target == "/dev/null"
            found[name] = "masked" if masked else "enabled" if "/" in name else "alias"
    return found


def sockets(contents: Contents) -> Facts:
    """Return what each enabled socket unit listens on."""
    names = {path.rpartition("/")[2] for path, how in units(contents).items() if how == "enabled"}
    return {name: _listens(contents, name) for name in names if name.endswith(".socket")}


def partitions(contents: Contents) -> Facts:
    """Return place, size and identifiers of each partition."""
    return {
        part.name: f"at {part.offset_bytes}, {part.size_bytes} bytes, type {part.type}, {part.uuid}"
        for part in contents.partitions
    }


def boot(contents: Contents) -> Facts:
    """Return each file of the system partition; of unified kernel images also each section."""
    found = {}
    for path, data in contents.boot.items():
        found[path] = f"sha256 {hashlib.sha256(data).hexdigest()}"
        if path.startswith("EFI/Linux/"):
            for name, section in read_sections(data).items():
                found[f"{path} {name}"] = _section(name, section)
    return found


def kernel(contents: Contents) -> Facts:
    """Return each argument of the kernel with its values, in their order."""
    found: dict[str, list[str]] = {}
    for path, data in contents.boot.items():
        if path.startswith("EFI/Linux/"):
            line = read_sections(data).get(".cmdline", b"").rstrip(b"\0").decode("utf-8", "replace")
            for argument in line.split():
                name, _, value = argument.partition("=")
                found.setdefault(name, []).append(value)
    return {name: " ".join(values) for name, values in found.items()}


def has_shell(user: str) -> bool:
    """Tell whether a user of `users` may log in to a shell."""
    return not any(f"shell {shell}," in user for shell in NO_SHELL)


def dangers(path: str, entry: Entry) -> list[str]:
    """Return why a file matters to security: the rights that it gives, the trust that it holds."""
    found = []
    if entry.kind is Kind.FILE and entry.mode & 0o4000:
        found.append("setuid")
    if entry.kind is Kind.FILE and entry.mode & 0o2000:
        found.append("setgid")
    if "security.capability" in entry.xattrs:
        found.append("capabilities")
    sticky = entry.kind is Kind.FOLDER and entry.mode & 0o1000
    if entry.kind in (Kind.FILE, Kind.FOLDER) and entry.mode & 0o002 and not sticky:
        found.append("writable for everybody")
    if entry.kind is Kind.FILE and _holds_trust(path):
        found.append("key or trust")
    return found


def _holds_trust(path: str) -> bool:
    return path.startswith(TRUSTED) or path.endswith(("/authorized_keys", "ca-certificates.crt"))


def _listens(contents: Contents, name: str) -> str:
    found: list[str] = []
    for folder in UNIT_FOLDERS:
        text = contents.text(f"{folder}{name}")
        if text:
            for line in text.splitlines():
                key, _, value = line.partition("=")
                if key.strip().lower() in LISTENS:
                    found.append(value.strip())
            break
    return ", ".join(found) or "unknown"


def _section(name: str, data: bytes) -> str:
    if name in TEXT_SECTIONS:
        return data.rstrip(b"\0").decode("utf-8", "replace").strip()
    return f"sha256 {hashlib.sha256(data).hexdigest()}, {len(data)} bytes"


def _lines(contents: Contents, path: str, fields: int) -> list[list[str]]:
    lines = [line.split(":") for line in contents.text(path).splitlines()]
    return [line[:fields] for line in lines if len(line) >= fields]
