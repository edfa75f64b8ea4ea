"""Secrets as the modules see them: files in /run/secrets, which no disk ever holds.

    <run>/secrets/<module>/<name>   0444 in a folder 0755, below one that is open to edged alone

<run> is a tmpfs that outlives edged. A container gets its folder, not the files: a value is
replaced by a rename, and the module that runs sees the new one. Which secrets a module has is
written on its container, so an edged that was restarted goes on where it was.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from skerry.base.errors import SkerryError
from skerry.base.log import Logger
from skerry.base.secret_file import is_name
from skerry.workloads.errors import SecretError
from skerry.workloads.vault import Vault

SECRETS_LABEL = "net.skerry.secrets"
_FOLDER_MODE, _FILE_MODE = 0o755, 0o444
_LOOK_SECONDS, _RETRY_SECONDS = 2.0, 30.0


def label_of(names: Iterable[str]) -> dict[str, str]:
    """Return the label of a container that has these secrets."""
    text = ",".join(names)
    return {SECRETS_LABEL: text} if text else {}


def named_by(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secrets of a container."""
    names = labels.get(SECRETS_LABEL, "").split(",")
    return tuple(name for name in names if is_name(name))


class SecretFiles:
    """Lays out the secrets of modules; raises SecretError."""

    def __init__(self, folder: Path, vault: Vault) -> None:
        self._folder = folder
        self._vault = vault
        self._lock = threading.Lock()

    def check(self, names: Iterable[str]) -> None:
        """Raise SecretError unless each of these secrets can be had."""
        for name in names:
            self._vault.value(name)

    def ensure(self, module: str, names: tuple[str, ...]) -> Path | None:
        """Lay out a module's secrets, no others; returns their folder, None for none."""
        if not names:
            return None
        values = {name: self._vault.value(name) for name in names}
        folder = self._folder / module
        with self._lock:
            try:
                _make_folder(self._folder, 0o700)
                _make_folder(folder, _FOLDER_MODE)
                for name, value in values.items():
                    _write(folder / name, value)
                for path in folder.iterdir():
                    if path.name not in values:
                        path.unlink()
            except OSError as error:
                raise SecretError(
                    f"the secrets of module {module!r} cannot be laid out in {folder}: "
                    f"{error.strerror or error}"
                ) from error
        return folder

    def remove(self, module: str) -> None:
        """Remove a module's secrets."""
        with self._lock:
            shutil.rmtree(self._folder / module, ignore_errors=True)

    def keep_only(self, modules: set[str]) -> None:
        """Remove what former modules left."""
        for entry in self._folder.iterdir() if self._folder.is_dir() else ():
            if entry.name not in modules:
                self.remove(entry.name)


class Rotation:
    """Seals what apply left, and brings new values to the modules that run; `modules` lists them.

    Looks at three files every other second. Trouble is said once and tried again.
    """

    def __init__(
        self,
        vault: Vault,
        files: SecretFiles,
        modules: Callable[[], Mapping[str, tuple[str, ...]]],
        log: Logger,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._vault = vault
        self._files = files
        self._modules = modules
        self._log = log
        self._look_seconds = look_seconds
        self._done = ""
        self._failed = ("", 0.0)
        self._trouble = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="secrets", daemon=True)

    def start(self) -> None:
        """Begin, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()

    def look(self) -> None:
        """Seal and bring what is new since the last look that went well."""
        state = self._vault.state()
        failed, at = self._failed
        if state == self._done or (state == failed and time.monotonic() < at + _RETRY_SECONDS):
            return
        self._failed = (state, time.monotonic())
        self._vault.seal_clear()
        troubles = list(self._deliver())
        if troubles:
            raise troubles[0]
        self._done = state

    def _deliver(self) -> Iterator[SecretError]:
        for module, names in self._modules().items():
            try:
                self._files.ensure(module, names)
            except SecretError as error:
                yield error

    def _run(self) -> None:
        while True:
            try:
                self.look()
                self._trouble = ""
            except (SkerryError, OSError) as error:
                if self._trouble != str(error):
                    self._trouble = str(error)
                    self._log.error("secrets not delivered", reason=error)
            if self._stopping.wait(self._look_seconds):
                return


def _make_folder(path: Path, mode: int) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(mode)


def _write(path: Path, value: bytes) -> None:
    """Replace a secret in one step; one that is the same keeps its time."""
    if path.is_file() and path.read_bytes() == value:
        return
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(value)
    temporary.chmod(_FILE_MODE)
    temporary.replace(path)
