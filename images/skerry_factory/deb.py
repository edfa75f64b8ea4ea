"""The Debian package of the native runtime: one per suite, written without dpkg-deb or root.

`runtime/debian/` is the source; `suites.toml` there names what the package needs from each suite.
The same checkout gives the same bytes on every machine: names sorted, owners 0:0, one time stamp.
The version carries the digest of the content, so that two packages of one version are never taken
for each other; a package is written whole or not at all.

    debian-binary
    control.tar.xz   control, md5sums, postinst, prerm, postrm
    data.tar.xz      /usr/lib/python3/dist-packages/{skerry,skerry-<version>.dist-info},
                     /usr/bin/skerry, /usr/lib/{systemd/system,sysusers.d,tmpfiles.d},
                     /usr/share/{doc/skerry,man/man1}, completion for bash, zsh and fish
"""

import hashlib
import io
import lzma
import tarfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from string import Template

from skerry import __version__
from skerry.base.commands import command_of
from skerry.base.completion import completion
from skerry.base.files import write_atomic
from skerry.cli.main import build_parser
from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.errors import FactoryError
from skerry_factory.manual import pages
from skerry_factory.paths import Checkout

PYTHON_DIR = "usr/lib/python3/dist-packages"
UNIT_DIR = "usr/lib/systemd/system"
SANDBOX_LINE = "#include sandbox.inc\n"
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/skerry",
    "zsh": "usr/share/zsh/vendor-completions/_skerry",
    "fish": "usr/share/fish/vendor_completions.d/skerry.fish",
}
MAINTAINER_SCRIPTS = ("postinst", "prerm", "postrm")


@dataclass(frozen=True)
class Entry:
    """One file of the package."""

    data: bytes
    mode: int = 0o644


Tree = Mapping[str, Entry]


@dataclass(frozen=True)
class Suite:
    """What the package needs from one Debian suite."""

    name: str
    release: str
    depends: tuple[str, ...]
    recommends: tuple[str, ...]
    suggests: tuple[str, ...]


def build_deb(suite: str, out: Path, *, checkout: Checkout | None = None) -> Path:
    """Write the package for a suite into `out` and return its path."""
    root = (checkout or Checkout.of_package()).root / "runtime"
    target = read_suite(suite, root / "debian" / "suites.toml")
    tree = data_tree(root)
    scripts = maintainer_scripts(root / "debian")
    control = Template((root / "debian" / "control").read_text("utf-8"))
    version = package_version(target, tree, [*scripts.values(), control.template.encode()])
    fields = control.substitute(
        version=version,
        installed_size=sum(len(entry.data) // 1024 + 1 for entry in tree.values()),
        depends=", ".join(target.depends),
        recommends=", ".join(target.recommends),
        suggests=", ".join(target.suggests),
    )
    members = {"control": Entry(fields.encode()), "md5sums": Entry(md5sums(tree))}
    members |= {name: Entry(data, 0o755) for name, data in scripts.items()}
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"skerry_{version}_all.deb"
    package = ar_archive(
        {
            "debian-binary": b"2.0\n",
            "control.tar.xz": tar_archive(members),
            "data.tar.xz": tar_archive(tree),
        }
    )
    write_atomic(path, package, mode=0o644)
    return path


def read_suite(name: str, file: Path) -> Suite:
    """Return what is known of a suite; raises FactoryError for one without a package."""
    suites = tomllib.loads(file.read_text("utf-8"))
    if name not in suites:
        raise FactoryError(
            f"suite {name!r} has no runtime package; expected one of {', '.join(sorted(suites))}"
        )
    table = suites[name]
    lists = (tuple(table[kind]) for kind in ("depends", "recommends", "suggests"))
    return Suite(name, table["release"], *lists)


def package_version(suite: Suite, tree: Tree, more: list[bytes]) -> str:
    """Return Skerry's version, the suite's release and the start of the content's sha256."""
    digest = hashlib.sha256("\n".join(suite.depends + suite.recommends + suite.suggests).encode())
    for name, entry in sorted(tree.items()):
        digest.update(f"\0{name}\0{entry.mode:o}\0".encode() + entry.data)
    for data in more:
        digest.update(b"\0" + data)
    return f"{__version__}+{suite.release}.{digest.hexdigest()[:12]}"


def data_tree(runtime: Path) -> dict[str, Entry]:
    """Return every file that the package installs, by its path without the leading slash."""
    debian = runtime / "debian"
    tree = {
        f"{PYTHON_DIR}/skerry/{path.relative_to(runtime / 'skerry')}": Entry(path.read_bytes())
        for path in sorted((runtime / "skerry").rglob("*"))
        if path.is_file() and path.suffix in {".py", ".json", ".typed", ".toml"}
    }
    tree |= {f"{PYTHON_DIR}/{name}": Entry(data) for name, data in dist_info().items()}
    tree |= {f"{UNIT_DIR}/{name}": Entry(data) for name, data in units(debian).items()}
    tree |= {name: Entry(data) for name, data in command_files().items()}
    return tree | {
        "usr/bin/skerry": Entry((debian / "skerry").read_bytes(), 0o755),
        "usr/lib/sysusers.d/skerry.conf": Entry((debian / "skerry.sysusers").read_bytes()),
        "usr/lib/tmpfiles.d/skerry.conf": Entry((debian / "skerry.tmpfiles").read_bytes()),
        "usr/share/doc/skerry/copyright": Entry((debian / "copyright").read_bytes()),
    }


def command_files() -> dict[str, bytes]:
    """Return what people have at the shell beside the command: man pages and completion."""
    command = command_of(build_parser())
    found = {f"usr/share/man/man1/{name}": data for name, data in pages(command).items()}
    return found | {
        path: completion(command, shell).encode() for shell, path in COMPLETIONS.items()
    }


def dist_info() -> dict[str, bytes]:
    """Return the metadata by which Python's tools know the installed distribution."""
    folder = f"skerry-{__version__}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: skerry\nVersion: {__version__}\n"
    return {
        f"{folder}/METADATA": metadata.encode(),
        f"{folder}/INSTALLER": b"debian\n",
        f"{folder}/entry_points.txt": b"[console_scripts]\nskerry = skerry.cli.main:main\n",
    }


def units(debian: Path) -> dict[str, bytes]:
    """Return the systemd units, the shared sandbox put in where they include it."""
    sandbox = (debian / "units" / "sandbox.inc").read_text("utf-8")
    return {
        path.name: path.read_text("utf-8").replace(SANDBOX_LINE, sandbox).encode()
        for path in sorted((debian / "units").iterdir())
        if path.suffix in {".service", ".socket"}
    }


def maintainer_scripts(debian: Path) -> dict[str, bytes]:
    """Return the maintainer scripts, told which units there are."""
    names = units(debian)
    sockets = [name for name in names if name.endswith(".socket")]
    services = [name for name in names if name.endswith(".service") and "seed" not in name]
    enabled = [name for name, data in names.items() if b"[Install]" in data]
    lists = {"UNITS": enabled, "SOCKETS": sockets, "SERVICES": services}
    told = "".join(f'{name}="{" ".join(value)}"\n' for name, value in lists.items())
    return {
        script: (debian / script)
        .read_text("utf-8")
        .replace("set -e\n", f"set -e\n{told}", 1)
        .encode()
        for script in MAINTAINER_SCRIPTS
    }


def md5sums(tree: Tree) -> bytes:
    """Return the list that `dpkg --verify` compares the installed files with."""
    lines = [
        f"{hashlib.md5(entry.data, usedforsecurity=False).hexdigest()}  {name}\n"
        for name, entry in sorted(tree.items())
    ]
    return "".join(lines).encode()


def tar_archive(tree: Tree) -> bytes:
    """Return an xz-compressed tar archive with a member for every file and its folders."""
    folders = {f"{parent}" for name in tree for parent in PurePosixPath(name).parents}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in sorted(folders | set(tree)):
            entry = tree.get(name)
            info = tarfile.TarInfo("./" if name == "." else f"./{name}")
            info.mtime = SOURCE_DATE_EPOCH
            info.uname = info.gname = "root"
            if entry is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            else:
                info.mode, info.size = entry.mode, len(entry.data)
                archive.addfile(info, io.BytesIO(entry.data))
    return lzma.compress(buffer.getvalue(), preset=6)


def ar_archive(members: Mapping[str, bytes]) -> bytes:
    """Return a Unix ar archive (deb(5))."""
    parts = [b"!<arch>\n"]
    for name, data in members.items():
        header = f"{name:<16}{SOURCE_DATE_EPOCH:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n"
        parts.append(header.encode("ascii") + data + b"\n" * (len(data) % 2))
    return b"".join(parts)
