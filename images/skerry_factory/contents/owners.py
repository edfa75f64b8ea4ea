"""Which Debian package a file belongs to, by dpkg's own lists."""

from skerry_factory.contents.model import Contents

INFO = "var/lib/dpkg/info/"
MERGED = ("bin/", "sbin/", "lib/", "lib64/", "lib32/", "libx32/")


def owners_of(contents: Contents) -> dict[str, str]:
    """Return the name of the package of each path; folders belong to the last that names them."""
    found = {}
    for path in sorted(contents.entries):
        if path.startswith(INFO) and path.endswith(".list"):
            package = path.removeprefix(INFO).removesuffix(".list").partition(":")[0]
            for line in contents.text(path).splitlines():
                found[_merged(line.removeprefix("/"))] = package
    return found


def source_of_bytecode(path: str) -> str:
    """Return the module that Python compiled a file from; empty for what is no bytecode."""
    folder, found, name = path.rpartition("__pycache__/")
    return f"{folder}{name.partition('.')[0]}.py" if found else ""


def _merged(path: str) -> str:
    """Return where a path lies since /bin, /sbin and /lib are links into /usr."""
    return f"usr/{path}" if path.startswith(MERGED) else path
