"""The layer that all container images share: Debian packages, extracted and stripped.

mmdebstrap's `extract` variant resolves, verifies and unpacks packages; none of their scripts runs.
Only Python does, to compile what most modules import: one file after another in a process without
outside influence, so everybody gets the same bytes. Another architecture than the machine's needs
an emulator for it (qemu-user). The packages' names and versions stay in /var/lib/dpkg/status, where
scanners look for them.

    entries/container-base/<key>/layer.tar.gz, layer.json
"""

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from skerry_factory.cache import Cache, digest_of_files, key_of, remove_tree
from skerry_factory.command import run_command
from skerry_factory.container_definition import BaseDefinition
from skerry_factory.container_layer import Entry, Layer, entries_of_archive, make_layer
from skerry_factory.epoch import SOURCE_DATE_EPOCH

STEP = "container-base"
KEEP_STATUS = (
    'for deb in "$1"/var/cache/apt/archives/*.deb; do '
    'dpkg-deb --field "$deb" && printf "Status: install ok installed\\n\\n"; '
    'done > "$1"/var/lib/dpkg/status'
)
"""Run by mmdebstrap once the packages are unpacked: nothing else records what they were."""

JOIN_ROOTS = 'cat "$1"/usr/share/ca-certificates/*/*.crt > "$1"/etc/ssl/certs/ca-certificates.crt'
"""What the script of ca-certificates would do: OpenSSL and Python look there."""

COMPILE = """\
import importlib, py_compile, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
for file in sorted(file for file in files if file and file.endswith(".py")):
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(file, doraise=True, invalidation_mode=mode)
"""
"""Unchecked: the files' times are the epoch, and nobody edits them in a container."""


@dataclass(frozen=True)
class Platform:
    """What the packages are for; `mirror` None means mmdebstrap's own choice."""

    suite: str
    arch: str
    mirror: str | None = None


Extract = Callable[[BaseDefinition, Platform, Path], None]
"""Writes a tar archive of packages; `extract_packages` is the one that uses Debian's archive."""


def base_layer(
    definition: BaseDefinition, platform: Platform, cache: Cache, extract: Extract
) -> Layer:
    """Return the shared layer, from the cache when it is there."""
    archive = "packages.tar"

    def make(folder: Path) -> None:
        extract(definition, platform, folder / archive)
        layer = make_layer(stripped_entries(definition, folder / archive))
        (folder / archive).unlink()
        write_layer(layer, folder)

    return read_layer(cache.fetch(STEP, base_key(definition, platform), make))


def base_key(definition: BaseDefinition, platform: Platform) -> str:
    """Return the key of the layer: definition, platform, code, and the tools that unpack."""
    own = Path(__file__)
    code = digest_of_files([own, own.with_name("container_layer.py")])
    entries = {path: repr(entry) for path, entry in definition.entries.items()}
    lists = [definition.packages, definition.bytecode, definition.without, definition.keep]
    tools = Path("/etc/os-release").read_text("utf-8")
    return key_of(asdict(platform), lists, entries, SOURCE_DATE_EPOCH, tools, code)


def forget_base(definition: BaseDefinition, platform: Platform, cache: Cache) -> None:
    """Remove the cached layer, so that the packages are fetched anew."""
    remove_tree(cache.entry(STEP, base_key(definition, platform)))


def extract_packages(definition: BaseDefinition, platform: Platform, archive: Path) -> None:
    """Write a tar archive of the packages and all that they depend on."""
    mode = "root" if os.geteuid() == 0 else "unshare"
    command = ["mmdebstrap", f"--mode={mode}", "--variant=extract", "--format=tar"]
    command += [f"--architectures={platform.arch}", f"--include={','.join(definition.packages)}"]
    compile_some = shlex.join(["python3", "-S", "-P", "-B", "-c", COMPILE, *definition.bytecode])
    compile_hook = f'PYTHONHASHSEED=0 chroot "$1" {compile_some}'
    command += [f"--extract-hook={hook}" for hook in (KEEP_STATUS, JOIN_ROOTS, compile_hook)]
    command += [platform.suite, str(archive)]
    run_command([*command, *([platform.mirror] if platform.mirror else [])])


def stripped_entries(definition: BaseDefinition, archive: Path) -> dict[str, Entry]:
    """Return what stays of the packages, and the files that the definition lays over them."""

    def wanted(path: str) -> bool:
        dropped = any(fnmatchcase(path, pattern) for pattern in definition.without)
        return not dropped or any(fnmatchcase(path, pattern) for pattern in definition.keep)

    return {**entries_of_archive(archive, wanted), **definition.entries}


def write_layer(layer: Layer, folder: Path) -> None:
    """Write a layer into a folder of the cache."""
    (folder / "layer.tar.gz").write_bytes(layer.data)
    facts = {"diff_id": layer.diff_id, "digest": layer.digest, "tree_bytes": layer.tree_bytes}
    (folder / "layer.json").write_text(json.dumps(facts), "utf-8")


def read_layer(folder: Path) -> Layer:
    """Read a layer that `write_layer` wrote."""
    facts = json.loads((folder / "layer.json").read_text("utf-8"))
    data = (folder / "layer.tar.gz").read_bytes()
    return Layer(facts["diff_id"], facts["digest"], data, facts["tree_bytes"])
