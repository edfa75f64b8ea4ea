"""Resolves and downloads the Debian packages of a definition, with an apt of its own.

apt checks the chain from the archive's signature over its index to each package. Its folders are
temporary and have no package installed, so what it would install is what a bootstrap installs; a
container's base layer is a second such question.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from skerry_factory.bootstrap import default_sources, plan_bootstrap
from skerry_factory.cache import key_of
from skerry_factory.command import run_command
from skerry_factory.container_definition import load_base
from skerry_factory.definition import Definition
from skerry_factory.errors import CommandError, FactoryError
from skerry_factory.lock import Lock, Package, missing, put
from skerry_factory.paths import Checkout

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MINBASE = ("?essential", "?priority(required)", "apt")
"""What mmdebstrap's variant `minbase` installs beside the packages named to it."""

ANSWER = re.compile(r"^'[^']+' (\S+)_(\S+)_(\w+)\.deb (\d+) SHA256:([0-9a-f]{64})$", re.MULTILINE)
PRIORITY = re.compile(r"^Package: (\S+)\n(?:\S.*\n| .*\n)*?Priority: (\S+)$", re.MULTILINE)
CONFIGURATION = """\
Dir "{root}";
Dir::State::status "{root}/status";
Dir::Etc::Trusted "{keyring}";
Dir::Etc::TrustedParts "/etc/apt/trusted.gpg.d";
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Install-Recommends "false";
Acquire::ForceHash "SHA256";
APT::Sandbox::User "{user}";
"""


class Apt:
    """An apt in a folder of its own; made by `private_apt`."""

    def __init__(self, root: Path) -> None:
        self.archives = root / "var/cache/apt/archives"
        self._environment = {"APT_CONFIG": str(root / "apt.conf")}

    def resolve(self, names: Sequence[str]) -> list[Package]:
        """Return all that installing some packages installs; downloads nothing."""
        said = self._run("install", "--yes", "--print-uris", *names)
        found = [
            (name, arch, unquote(version), int(size), sha256)
            for name, version, arch, size, sha256 in ANSWER.findall(said)
        ]
        priorities = self._priorities([f"{name}={version}" for name, _, version, *_ in found])
        return [Package(*fields, priorities.get(fields[0], "optional")) for fields in found]

    def _priorities(self, pinned: Sequence[str]) -> dict[str, str]:
        command = ["apt-cache", "show", *pinned]
        said = run_command(command, environment=self._environment) if pinned else ""
        return dict(PRIORITY.findall(said))

    def download(self, packages: Sequence[Package]) -> None:
        """Download exactly these packages into `archives`."""
        self._run("download", *(package.pinned for package in packages), cwd=self.archives)

    def _run(self, *arguments: str, cwd: Path | None = None) -> str:
        command = ["apt-get", "-qq", *arguments]
        return run_command(command, environment=self._environment, cwd=cwd)

    def update(self) -> None:
        """Fetch the index of the archive."""
        self._run("update")


@contextmanager
def private_apt(arch: str, sources: str) -> Iterator[Apt]:
    """Yield an apt for an architecture and the content of a sources.list."""
    with tempfile.TemporaryDirectory(prefix="skerry-apt-") as folder:
        root = Path(folder)
        for name in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial"):
            (root / name).mkdir(parents=True)
        (root / "var/cache/apt/archives/partial").mkdir(parents=True)
        (root / "status").touch()
        (root / "etc/apt/sources.list").write_text(sources, "utf-8")
        user = "root" if os.geteuid() == 0 else ""
        text = CONFIGURATION.format(root=root, arch=arch, keyring=KEYRING, user=user)
        (root / "apt.conf").write_text(text, "utf-8")
        apt = Apt(root)
        apt.update()
        yield apt


def asked_of(definition: Definition, checkout: Checkout) -> str:
    """Return the digest of the question that a lock answers: suite, architecture and names."""
    plan = plan_bootstrap(definition, checkout, None)
    return key_of(plan.suite, plan.arch, plan.packages, load_base(checkout).packages)


def resolve(definition: Definition, checkout: Checkout, mirror: str | None, store: Path) -> Lock:
    """Return a new lock of a definition, and have all of its packages in the store."""
    plan = plan_bootstrap(definition, checkout, mirror)
    with private_apt(plan.arch, default_sources(plan.suite, plan.mirror)) as apt:
        found = {*apt.resolve([*MINBASE, *plan.packages])}
        found |= {*apt.resolve(load_base(checkout).packages)}
        if not found:
            raise FactoryError(f"apt named no package for {definition.id}")
        lock = Lock(asked_of(definition, checkout), tuple(sorted(found)))
        _download(apt, lock, store)
    return lock


def fetch(
    definition: Definition, lock: Lock, checkout: Checkout, mirror: str | None, store: Path
) -> int:
    """Download the packages of a lock that the store lacks; returns how many there were."""
    lacking = missing(lock, store)
    if lacking:
        plan = plan_bootstrap(definition, checkout, mirror)
        with private_apt(plan.arch, default_sources(plan.suite, plan.mirror)) as apt:
            _download(apt, lock, store)
    return len(lacking)


def _download(apt: Apt, lock: Lock, store: Path) -> None:
    lacking = missing(lock, store)
    if not lacking:
        return
    try:
        apt.download(lacking)
    except CommandError as error:
        raise FactoryError(
            f"the archive does not give all of {len(lacking)} locked package(s); when they have "
            f"been replaced there, run `skerry-factory lock ID --update`\n{error}"
        ) from error
    for package in lacking:
        version = package.version.replace(":", "%3a")
        put(apt.archives / f"{package.name}_{version}_{package.arch}.deb", package, store)
