"""The secrets of this device, sealed.

    <state>/imported/<name>-<tag>   a value of config.toml; apply leaves it in the clear
    <state>/secrets/<name>          a value given by hand, until config.toml has another one
    <etc>/current/vault.json        what is in force: {"secrets": {name: {"tag", "sealed_by"}}}

A clear value is sealed at the first look, read back, and only then overwritten: a power cut leaves
one or the other. A value is never kept in memory longer than it takes to deliver it.
"""

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from skerry.base.files import FileTooLargeError, mark_of, read_limited, remove, write_atomic
from skerry.base.log import Logger
from skerry.base.secret_file import MAX_BYTES, SecretFile, SecretFileError, is_name, load
from skerry.workloads.errors import SecretError
from skerry.workloads.sealing import Sealer

_MAX_FILE_BYTES = MAX_BYTES + 16 * 1024
_DEFAULT_SEALER = "keyd"
CLEAR = "clear"


@dataclass(frozen=True)
class Known:
    """A secret as people are told of it; `origin` is "config", "hand" or "none" for no value."""

    name: str
    origin: str
    sealed_by: str


class Vault:
    """Gives, takes and seals secrets; raises SecretError, whose message never holds a value."""

    def __init__(self, index: Path, state: Path, sealers: dict[str, Sealer], log: Logger) -> None:
        self._index = index
        self._imported = state / "imported"
        self._given = state / "secrets"
        self._sealers = sealers
        self._log = log
        self._lock = threading.Lock()

    def known(self) -> list[Known]:
        """Return every secret that config.toml or a person has named, by name."""
        index, given = self._read_index(), self._read_given()
        found = {}
        for name, (tag, sealer) in index.items():
            found[name] = Known(name, "config" if tag else "none", sealer)
        for name, file in given.items():
            if self._stands(file, index.get(name, (None, ""))[0]):
                found[name] = Known(name, "hand", file.sealer)
        return [found[name] for name in sorted(found)]

    def value(self, name: str) -> bytes:
        """Return a secret."""
        tag, _ = self._read_index().get(name, (None, ""))
        file = self._read_given().get(name)
        if file is None or not self._stands(file, tag):
            if tag is None:
                raise SecretError(
                    f"secret {name!r} has no value on this device; give it with: "
                    f"skerry secret set {name}"
                )
            file = self._load(self._imported / f"{name}-{tag}", name)
        return self._open(name, file)

    def give(self, name: str, value: bytes) -> None:
        """Put a value in the place of that of config.toml, until another one comes from there."""
        tag, sealer = self._read_index().get(name, (None, _DEFAULT_SEALER))
        sealed = self._seal(name, SecretFile(CLEAR, sealer, value, over=tag))
        with self._lock:
            self._given.mkdir(mode=0o700, exist_ok=True)
            write_atomic(self._given / name, sealed.dump(), mode=0o600)
        self._log.info("secret given", secret=name, sealed_by=sealer)

    def forget(self, name: str) -> bool:
        """Remove a value that was given by hand; tells whether there was one."""
        with self._lock:
            there = (self._given / name).is_file()
            remove(self._given / name)
        if there:
            self._log.info("secret removed", secret=name)
        return there

    def seal_clear(self) -> None:
        """Seal what apply has left in the clear."""
        for name, (tag, _) in self._read_index().items():
            path = self._imported / f"{name}-{tag}"
            if tag is not None and path.is_file():
                file = self._load(path, name)
                if file.form == CLEAR:
                    _replace(path, self._seal(name, file).dump())
                    self._log.info("secret sealed", secret=name, sealed_by=file.sealer)

    def state(self) -> str:
        """Return what is another when a secret may be."""
        return mark_of(self._index.parent, self._index, self._given)

    def _seal(self, name: str, file: SecretFile) -> SecretFile:
        sealer = self._sealers[file.sealer]
        sealed = sealer.seal(name, file.data)
        if sealer.unseal(name, sealed) != file.data:
            raise SecretError(f"secret {name!r} is not what {file.sealer} gives back for it")
        return file.sealed(sealed)

    def _open(self, name: str, file: SecretFile) -> bytes:
        return file.data if file.form == CLEAR else self._sealers[file.form].unseal(name, file.data)

    def _load(self, path: Path, name: str) -> SecretFile:
        try:
            return load(read_limited(path, _MAX_FILE_BYTES))
        except FileNotFoundError as error:
            raise SecretError(
                f"secret {name!r} is gone from {path.parent}; give it again in config.toml, or "
                f"with: skerry secret set {name}"
            ) from error
        except (OSError, SecretFileError, FileTooLargeError) as error:
            raise SecretError(f"secret {name!r}: {path} cannot be used: {error}") from error

    def _read_given(self) -> dict[str, SecretFile]:
        if not self._given.is_dir():
            return {}
        paths = [path for path in self._given.iterdir() if is_name(path.name)]
        return {path.name: self._load(path, path.name) for path in paths}

    def _read_index(self) -> dict[str, tuple[str | None, str]]:
        try:
            table = json.loads(read_limited(self._index, _MAX_FILE_BYTES))["secrets"]
            return {name: (entry["tag"], entry["sealed_by"]) for name, entry in table.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, FileTooLargeError) as error:
            raise SecretError(f"{self._index} cannot be used: {error}") from error

    @staticmethod
    def _stands(given: SecretFile, tag: str | None) -> bool:
        return given.over == tag


def _replace(path: Path, data: bytes) -> None:
    """Replace a file, and overwrite what it held once that is certain to be in place."""
    with path.open("r+b") as old:
        write_atomic(path, data, mode=0o600)
        old.write(bytes(os.fstat(old.fileno()).st_size))
        old.flush()
        os.fsync(old.fileno())
