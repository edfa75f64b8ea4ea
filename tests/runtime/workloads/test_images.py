"""Images of the appliance and images of registries."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.docker_engine import DockerEngine, serving
from skerry.base.clock import SystemClock
from skerry.base.log import get_logger
from skerry.engine.client import MobyEngine
from skerry.engine.errors import PullError
from skerry.engine.model import RegistryAuth
from skerry.workloads.errors import ImageError
from skerry.workloads.image_use import ImageUse
from skerry.workloads.images import Images, read_preload
from skerry.workloads.settings import PullPolicy

REFERENCE = "localhost/skerry/agent:1.0"
REMOTE = "registry.example/pump:1"
ON_CREATE = PullPolicy.ON_CREATE


@dataclass
class Store:
    """A folder of archives as an appliance carries it, and an engine."""

    folder: Path
    fake: DockerEngine
    engine: MobyEngine
    use: ImageUse

    def images(self) -> Images:
        preloaded = read_preload(self.folder)
        return Images(self.engine, preloaded, self.use, get_logger("edged"))

    def carry(self, reference: str = REFERENCE, **changes: str) -> str:
        """Put an archive and its line of preload.json into the folder; returns the image's id."""
        config = json.dumps({"os": "linux", "of": reference}).encode()
        manifest = json.dumps([{"Config": "c", "RepoTags": [reference]}]).encode()
        with tarfile.open(self.folder / "a.tar", "w") as tar:
            for name, data in (("c", config), ("manifest.json", manifest)):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        archive = (self.folder / "a.tar").read_bytes()
        line = {
            "ref": reference,
            "id": f"sha256:{hashlib.sha256(config).hexdigest()}",
            "file": "a.tar",
            "sha256": hashlib.sha256(archive).hexdigest(),
            "size_bytes": len(archive),
            **changes,
        }
        (self.folder / "preload.json").write_text(json.dumps({"images": [line]}))
        return str(line["id"])

    def pulls(self) -> int:
        return self.fake.count("POST", "/images/create")

    def loads(self) -> int:
        return self.fake.count("POST", "/images/load")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with serving(DockerEngine(), tmp_path / "docker.sock") as fake:
        engine = MobyEngine(f"unix://{tmp_path / 'docker.sock'}")
        yield Store(tmp_path, fake, engine, ImageUse(tmp_path / "gc", SystemClock()))


def test_a_missing_image_is_loaded_once(store: Store) -> None:
    """A fresh engine gets the archive; the next start finds the image there."""
    identity = store.carry()
    assert store.images().load_missing() == 1
    assert store.fake.images == {REFERENCE: identity}
    assert store.images().load_missing() == 0
    assert store.loads() == 1


def test_a_preloaded_image_is_never_fetched(store: Store) -> None:
    """Whatever stands under its name elsewhere, and whatever the policy says."""
    identity = store.carry()
    store.fake.registry[REFERENCE] = "sha256:" + "e" * 64
    store.images().ensure(REFERENCE, ON_CREATE, None)
    assert (store.fake.images[REFERENCE], store.pulls()) == (identity, 0)


def test_another_image_under_the_name_is_replaced(store: Store) -> None:
    """The id counts: what was tagged over the name does not run."""
    store.fake.images[REFERENCE] = "sha256:" + "e" * 64
    identity = store.carry()
    store.images().ensure(REFERENCE, ON_CREATE, None)
    assert store.fake.images[REFERENCE] == identity


def test_a_damaged_archive_is_not_loaded(store: Store) -> None:
    """Both digests and the remedy are named; the engine never sees the archive."""
    store.carry(sha256="0" * 64)
    with pytest.raises(ImageError, match=r"a\.tar of image '.*' is damaged: .* expected 0{64}; "):
        store.images().ensure(REFERENCE, ON_CREATE, None)
    assert store.loads() == 0


def test_an_archive_of_another_image_is_refused(store: Store) -> None:
    """An archive that does not hold the promised id."""
    store.carry(id="sha256:" + "d" * 64)
    with pytest.raises(ImageError, match="does not hold image"):
        store.images().ensure(REFERENCE, ON_CREATE, None)


def test_a_missing_archive_is_named(store: Store) -> None:
    """The file that should be there is in the message."""
    store.carry()
    (store.folder / "a.tar").unlink()
    with pytest.raises(ImageError, match=r"a\.tar cannot be read \(No such file or directory\)"):
        store.images().ensure(REFERENCE, ON_CREATE, None)


def test_one_bad_archive_does_not_stop_the_start(store: Store) -> None:
    """Loading at start logs it and goes on."""
    store.carry(sha256="0" * 64)
    assert store.images().load_missing() == 0


@pytest.mark.parametrize("text", ["{", "[]", '{"images": [{"ref": "x"}]}'])
def test_a_broken_list_is_refused(store: Store, text: str) -> None:
    """preload.json is part of the appliance: what to do is to install it again."""
    (store.folder / "preload.json").write_text(text)
    with pytest.raises(ImageError, match=r"preload\.json cannot be used: .*install"):
        read_preload(store.folder)


def test_no_list_is_no_image(store: Store) -> None:
    """A device that was provisioned over SSH may carry none."""
    assert read_preload(store.folder) == {}


def test_an_image_of_a_registry_is_fetched_with_its_login(store: Store) -> None:
    """On-create fetches each time, as the tag may have moved."""
    store.fake.registry[REMOTE] = "sha256:" + "b" * 64
    login = RegistryAuth({"username": "u", "password": "p"})
    store.images().ensure(REMOTE, ON_CREATE, login)
    store.images().ensure(REMOTE, ON_CREATE, login)
    assert store.pulls() == 2
    assert store.fake.logins[0] != ""


def test_without_a_registry_the_image_that_is_there_is_used(store: Store) -> None:
    """An appliance without network still starts its modules."""
    store.fake.images[REMOTE] = "sha256:" + "b" * 64
    store.images().ensure(REMOTE, ON_CREATE, None)
    assert store.pulls() == 1


def test_an_image_that_is_nowhere_is_an_error(store: Store) -> None:
    """The registry's own words are kept."""
    with pytest.raises(PullError, match=f"manifest for {REMOTE} not found"):
        store.images().ensure(REMOTE, ON_CREATE, None)


def test_policy_never_fetches_nothing(store: Store) -> None:
    """An absent image is an error with the remedy."""
    with pytest.raises(ImageError, match=r"may not be fetched; load it with: docker load"):
        store.images().ensure(REMOTE, PullPolicy.NEVER, None)
    store.fake.images[REMOTE] = "sha256:" + "b" * 64
    store.images().ensure(REMOTE, PullPolicy.NEVER, None)
    assert store.pulls() == 0


def test_a_name_that_no_registry_can_answer_is_not_asked_for(store: Store) -> None:
    """localhost/ means this device."""
    with pytest.raises(ImageError, match="is not on this device"):
        store.images().ensure("localhost/site/own:1", ON_CREATE, None)
    assert store.pulls() == 0


def test_an_image_named_by_digest_is_fetched_once(store: Store) -> None:
    """What a digest names cannot change."""
    pinned = "registry.example/pump@sha256:" + "c" * 64
    store.fake.images[pinned] = "sha256:" + "c" * 64
    store.images().ensure(pinned, ON_CREATE, None)
    assert store.pulls() == 0


def test_what_edged_brings_is_remembered_for_the_collection(store: Store) -> None:
    """Fetched, or loaded from the appliance: its next version carries another one."""
    identity = store.carry()
    store.fake.registry[REMOTE] = "sha256:" + "e" * 64
    store.fake.images["by-hand:1"] = "sha256:" + "f" * 64
    for reference in (REFERENCE, REMOTE):
        store.images().ensure(reference, ON_CREATE, None)
    store.images().ensure("by-hand:1", PullPolicy.NEVER, None)
    assert set(store.use.older_than(-60)) == {identity, "sha256:" + "e" * 64}


def test_a_pull_by_digest_asks_for_that_content(store: Store) -> None:
    """Once it is here, the registry is not asked again."""
    pinned = "registry.example/pump@sha256:" + "d" * 64
    store.fake.registry[pinned] = "sha256:" + "e" * 64
    store.images().ensure(pinned, ON_CREATE, None)
    store.images().ensure(pinned, ON_CREATE, None)
    assert store.pulls() == 1
