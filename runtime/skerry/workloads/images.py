"""Images: those that the appliance carries, and those that are fetched.

An image named in preload.json is loaded from its archive when the engine lacks it, has to have the
id written there, and is never fetched: no registry can put another in its place. Any other image is
fetched as its policy says; when that fails and the engine has it, that one is used, so an appliance
without network still starts.
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from skerry.base.log import Logger
from skerry.engine.errors import EngineNotFoundError, EngineUnreachableError, LoadError, PullError
from skerry.engine.model import Engine, RegistryAuth
from skerry.workloads.errors import ImageError
from skerry.workloads.image_use import ImageUse
from skerry.workloads.settings import PullPolicy

_REMEDY = "install the package or image of this appliance again"
_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Preloaded:
    """One line of preload.json."""

    reference: str
    id: str
    archive: Path
    sha256: str


def read_preload(folder: Path) -> dict[str, Preloaded]:
    """Read `<folder>/preload.json`, by reference; no file is no image. Raises ImageError."""
    path = folder / "preload.json"
    try:
        table = json.loads(path.read_text("utf-8"))
        entries = [
            Preloaded(entry["ref"], entry["id"], folder / entry["file"], entry["sha256"])
            for entry in table["images"]
        ]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(f"{path} cannot be used: {error!r}; {_REMEDY}") from error
    return {entry.reference: entry for entry in entries}


class Images:
    """Sees to it that an image is in the engine before a container is made from it."""

    def __init__(
        self, engine: Engine, preloaded: Mapping[str, Preloaded], use: ImageUse, log: Logger
    ) -> None:
        self._engine = engine
        self._preloaded = preloaded
        self._use = use
        self._log = log
        self._loading = threading.Lock()

    def load_missing(self) -> int:
        """Load what the engine lacks; returns how many. One bad archive does not stop the rest."""
        loaded = 0
        for entry in self._preloaded.values():
            try:
                loaded += self._ensure_preloaded(entry)
            except (ImageError, LoadError) as error:
                self._log.error("image not loaded", image=entry.reference, reason=error)
        return loaded

    def carried(self, reference: str) -> bool:
        """Tell whether an image came with the appliance, and so has the id that was built."""
        return reference in self._preloaded

    def ensure(self, reference: str, policy: PullPolicy, auth: RegistryAuth | None) -> None:
        """Make an image available; raises ImageError, PullError and the engine's errors."""
        entry = self._preloaded.get(reference)
        if entry is not None:
            self._ensure_preloaded(entry)
        elif policy is PullPolicy.NEVER:
            self._require(reference)
        elif "@sha256:" not in reference or self._id(reference) is None:
            self._fetch(reference, auth)
        else:
            self._used(reference)

    def released(self, image_id: str) -> None:
        """Note that an image was of use until now."""
        self._use.touched({image_id})

    def _used(self, reference: str) -> None:
        found = self._id(reference)
        if found is not None:
            self._use.touched({found})

    def _fetch(self, reference: str, auth: RegistryAuth | None) -> None:
        if reference.startswith("localhost/"):
            self._require(reference)
            return
        try:
            self._engine.pull(reference, auth)
        except EngineUnreachableError:
            raise
        except PullError as error:
            if self._id(reference) is None:
                raise
            self._log.warning("image not refreshed", image=reference, reason=error)
            self._used(reference)
        else:
            self._use.brought(self._engine.image(reference).id)

    def _require(self, reference: str) -> None:
        if self._id(reference) is None:
            raise ImageError(
                f"image {reference!r} is not on this device and may not be fetched; "
                "load it with: docker load --input ARCHIVE"
            )

    def _ensure_preloaded(self, entry: Preloaded) -> bool:
        with self._loading:
            if self._id(entry.reference) == entry.id:
                return False
            if self._id(entry.id) is None:
                _check_archive(entry)
                self._engine.load(entry.archive)
                # the next version of the appliance carries another one: then this one may go
                self._use.brought(entry.id)
            if self._id(entry.id) is None:
                raise ImageError(
                    f"archive {entry.archive} does not hold image {entry.reference!r} with id "
                    f"{entry.id}; {_REMEDY}"
                )
            if self._id(entry.reference) != entry.id:
                self._engine.tag(entry.id, entry.reference)
            return True

    def _id(self, reference: str) -> str | None:
        try:
            return self._engine.image(reference).id
        except EngineNotFoundError:
            return None


def _check_archive(entry: Preloaded) -> None:
    digest = hashlib.sha256()
    try:
        with entry.archive.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise ImageError(
            f"image {entry.reference!r} is missing: archive {entry.archive} cannot be read "
            f"({error.strerror}); {_REMEDY}"
        ) from error
    if digest.hexdigest() != entry.sha256:
        raise ImageError(
            f"archive {entry.archive} of image {entry.reference!r} is damaged: its sha256 is "
            f"{digest.hexdigest()}, expected {entry.sha256}; {_REMEDY}"
        )
