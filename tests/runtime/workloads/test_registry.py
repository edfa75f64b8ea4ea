"""Images from a real registry, with TLS and a password, into a real engine; and when it fails."""

import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from harness.clock import MovableClock
from harness.edged import until
from harness.engine import Moby, missing_prerequisite, moby
from harness.registry import PASSWORD, Registry, missing_registry, registry
from skerry.base.clock import SystemClock
from skerry.base.log import get_logger
from skerry.engine.client import MobyEngine
from skerry.engine.errors import EngineNotFoundError, EngineUnreachableError, PullError
from skerry.engine.model import RegistryAuth
from skerry.workloads.collector import Collector
from skerry.workloads.image_use import ImageUse
from skerry.workloads.images import Images
from skerry.workloads.settings import CollectionSettings, PullPolicy

pytestmark = pytest.mark.engine

BIG_BYTES = 8_000_000
ONE_TRY = ("--max-download-attempts=1",)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    missing = missing_prerequisite() or missing_registry()
    if missing is not None:
        pytest.skip(missing)
    with registry(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture(scope="module")
def engine(store: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moby]:
    """An engine that believes the registry, and tries each layer once."""
    with moby(tmp_path_factory.mktemp("moby"), trust=store.ca, options=ONE_TRY) as made:
        yield made


@pytest.fixture(scope="module")
def pinned(store: Registry, engine: Moby) -> str:
    """An image of the registry, named by its digest; its tag is pump:1."""
    return store.publish(engine, "pump", size_bytes=BIG_BYTES)


@pytest.fixture(autouse=True)
def _without_the_image(store: Registry, engine: Moby) -> Iterator[None]:
    """Every test begins with a line that passes all, and ends without what it pulled."""
    store.line.free()
    yield
    for image in engine.api.images():
        names = [*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())]
        if any(name.startswith(store.host) for name in names):
            engine.api.remove_image(image["Id"], force=True)


def login(store: Registry, password: str = PASSWORD) -> RegistryAuth:
    return RegistryAuth(store.login(password))


def is_there(engine: Moby, reference: str) -> bool:
    try:
        return bool(MobyEngine(engine.uri).image(reference).id)
    except EngineNotFoundError:
        return False


def images(engine: Moby, folder: Path) -> Images:
    use = ImageUse(folder / "gc", SystemClock())
    return Images(MobyEngine(engine.uri), {}, use, get_logger("edged"))


def test_an_image_comes_by_tag_and_by_digest(
    store: Registry, engine: Moby, pinned: str, tmp_path: Path
) -> None:
    """Both are the same image; one that is pinned and there needs no registry."""
    wanted = images(engine, tmp_path)
    for reference in (store.reference("pump"), pinned):
        wanted.ensure(reference, PullPolicy.ON_CREATE, login(store))
        assert is_there(engine, reference)
    store.line.cut_after(0)
    wanted.ensure(pinned, PullPolicy.ON_CREATE, None)


@pytest.mark.usefixtures("pinned")
@pytest.mark.parametrize(
    ("image", "password", "reason"),
    [
        ("pump:1", "wrong", "unauthorized"),
        ("pump:1", "", "no basic auth credentials"),
        ("pump:2", "secret", "manifest unknown"),
        ("pump@sha256:" + "0" * 64, "secret", "manifest unknown"),
        ("none:1", "secret", "manifest unknown|not found"),
    ],
)
def test_what_a_registry_refuses_is_told_in_its_words(
    store: Registry, engine: Moby, tmp_path: Path, image: str, password: str, reason: str
) -> None:
    """A wrong password, none, a tag, a digest and a name that are not there; nothing is left."""
    reference = f"{store.host}/{image}"
    given = login(store, password) if password else None
    with pytest.raises(PullError, match=reason):
        images(engine, tmp_path).ensure(reference, PullPolicy.ON_CREATE, given)
    assert not is_there(engine, reference)


@pytest.mark.usefixtures("pinned")
def test_a_registry_that_dies_in_the_middle(store: Registry, engine: Moby, tmp_path: Path) -> None:
    """The pull fails with the reason, leaves no image, and succeeds when the registry is back."""
    reference, wanted = store.reference("pump"), images(engine, tmp_path)
    store.line.cut_after(BIG_BYTES // 2)
    with pytest.raises(PullError, match=r"connection reset|EOF"):
        wanted.ensure(reference, PullPolicy.ON_CREATE, login(store))
    assert store.line.held.is_set()
    store.kill()
    store.line.free()
    with pytest.raises(PullError, match=r"EOF|refused|reset"):
        wanted.ensure(reference, PullPolicy.ON_CREATE, login(store))
    assert not is_there(engine, reference)
    store.start()
    wanted.ensure(reference, PullPolicy.ON_CREATE, login(store))
    assert is_there(engine, reference)


@pytest.mark.usefixtures("pinned")
def test_a_registry_that_falls_silent(store: Registry, engine: Moby) -> None:
    """The pull is given up; the next one, with the registry awake, succeeds."""
    reference = store.reference("pump")
    store.line.stall_after(BIG_BYTES // 2)
    with pytest.raises(PullError, match="nothing arrived for 1 s"):
        MobyEngine(engine.uri, stall_seconds=1).pull(reference, login(store))
    store.line.free()
    MobyEngine(engine.uri).pull(reference, login(store))
    assert is_there(engine, reference)


@pytest.mark.usefixtures("pinned")
def test_an_engine_killed_in_the_middle(store: Registry, engine: Moby) -> None:
    """It counts as away, not the image as bad; back again it pulls the same image."""
    reference = store.reference("pump")
    store.line.stall_after(BIG_BYTES // 2)
    client = MobyEngine(engine.uri)

    def kill_in_the_middle() -> None:
        store.line.held.wait(30)
        engine.daemon.kill()

    killer = threading.Thread(target=kill_in_the_middle)
    killer.start()
    with pytest.raises(EngineUnreachableError):
        client.pull(reference, login(store))
    killer.join()
    store.line.free()
    engine.daemon.start()
    until(lambda: engine.api.ping(), "the engine is back")
    client.pull(reference, login(store))
    assert is_there(engine, reference)


def test_an_image_that_does_not_fit(
    store: Registry, engine: Moby, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The disk is named with the remedy, and has its space back; a smaller image still comes."""
    store.publish(engine, "huge", size_bytes=48_000_000)
    store.publish(engine, "small")
    folder = tmp_path_factory.mktemp("small")
    data = tmp_path_factory.mktemp("tmpfs")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(data)], check=True)
    try:
        with moby(folder, trust=store.ca, data=data, options=ONE_TRY) as little:
            client = MobyEngine(little.uri)
            with pytest.raises(PullError, match="no space left on device; the disk is full: free"):
                client.pull(store.reference("huge"), login(store))
            client.pull(store.reference("small"), login(store))
            assert is_there(little, store.reference("small"))
            assert not is_there(little, store.reference("huge"))
    finally:
        subprocess.run(["umount", "--lazy", str(data)], check=True)


def test_unused_images_go_and_needed_ones_stay(
    store: Registry, engine: Moby, tmp_path: Path
) -> None:
    """With all its names; that of a stopped container and that of the deployment stay."""
    clock, client = MovableClock(), MobyEngine(engine.uri)
    use = ImageUse(tmp_path / "gc", clock)
    wanted = Images(client, {}, use, get_logger("edged"))
    ids = {}
    for name in ("unused", "stopped", "deployed"):
        store.publish(engine, name, size_bytes=1000)
        wanted.ensure(store.reference(name), PullPolicy.ON_CREATE, login(store))
        ids[name] = client.image(store.reference(name)).id
    client.tag(ids["unused"], "localhost/another:name")
    client.create("old", {"Image": store.reference("stopped"), "Cmd": ["/bin/true"]})
    clock.move(timedelta(days=8))
    needed = {store.reference("deployed")}
    log = get_logger("edged")
    collector = Collector(client, use, CollectionSettings(), lambda: needed, clock, log)
    try:
        assert collector.collect() == [ids["unused"]]
        assert [is_there(engine, ids[name]) for name in ids] == [False, True, True]
        assert collector.collect() == []
    finally:
        engine.remove_containers()
