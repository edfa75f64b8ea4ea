"""The real images in a real engine: they load, run, and are what their Containerfiles say."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.engine import Moby, missing_prerequisite, moby
from skerry_factory.cache import IGNORED_NAMES
from skerry_factory.command_line import default_cache
from skerry_factory.container_definition import BASE, container_names, load_container
from skerry_factory.containers import ContainerImage, build_containers, image_ref
from skerry_factory.paths import Checkout

pytestmark = pytest.mark.engine

CHECKOUT = Checkout.of_package()
NAMES = container_names(CHECKOUT)
MAX_TREE_BYTES = 90_000_000
END_SECONDS = 60


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moby]:
    missing = missing_prerequisite()
    if missing is not None:
        pytest.skip(missing)
    with moby(tmp_path_factory.mktemp("moby")) as running:
        yield running


@pytest.fixture(scope="module")
def images(engine: Moby, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ContainerImage]:
    """Build all images and load them."""
    out = tmp_path_factory.mktemp("images")
    names = [BASE, *NAMES]
    built = build_containers(names, out, default_cache(), progress=lambda text: None)
    for image in built:
        with (out / image.file).open("rb") as archive:
            for event in engine.api.load_image(archive):
                assert "error" not in event, event
    return dict(zip(names, built, strict=True))


def run(engine: Moby, image: str, *command: str) -> tuple[int, str]:
    """Run a container to its end; returns its status and what it wrote."""
    entrypoint = list(command) or None
    host = engine.api.create_host_config(network_mode="none")
    made = engine.api.create_container(image, entrypoint=entrypoint, host_config=host)
    try:
        engine.api.start(made)
        status = engine.api.wait(made, timeout=END_SECONDS)["StatusCode"]
        return status, engine.api.logs(made).decode()
    finally:
        engine.api.remove_container(made, force=True)


@pytest.mark.parametrize("name", [BASE, *NAMES])
def test_an_image_loads_under_its_id_and_name(
    engine: Moby, images: dict[str, ContainerImage], name: str
) -> None:
    """What the factory says of an image is what the engine says; it is small."""
    found = engine.api.inspect_image(image_ref(name))
    assert found["Id"] == images[name].id
    assert found["RepoTags"] == [images[name].ref]
    assert found["Size"] <= MAX_TREE_BYTES


def test_images_keep_the_base_once(engine: Moby, images: dict[str, ContainerImage]) -> None:
    """All have the same first layer, and one more of their own."""
    layers = [engine.api.inspect_image(image_ref(name))["RootFS"]["Layers"] for name in images]
    assert len({found[0] for found in layers}) == 1
    assert sorted(len(found) for found in layers) == [1] + [2] * len(NAMES)


def test_python_of_the_base_is_whole(engine: Moby, images: dict[str, ContainerImage]) -> None:
    """What was stripped is missed by nothing that modules are likely to use."""
    modules = (
        "asyncio ctypes hashlib http.client json lzma sqlite3 ssl subprocess tomllib uuid zlib"
    )
    program = f"import {', '.join(modules.split())}; print(sqlite3.connect(':memory:'))"
    status, talk = run(engine, image_ref(BASE), "python3", "-c", program)
    assert (status, talk[:20]) == (0, "<sqlite3.Connection ")


def test_public_authorities_are_trusted(engine: Moby, images: dict[str, ContainerImage]) -> None:
    """Those of Debian, which hubs and storage with a public certificate need."""
    program = "import ssl; print(len(ssl.create_default_context().get_ca_certs()))"
    status, talk = run(engine, image_ref(BASE), "python3", "-c", program)
    assert status == 0
    assert int(talk) > 100


def test_scanners_find_the_packages(engine: Moby, images: dict[str, ContainerImage]) -> None:
    """dpkg's records name what the base was made of."""
    program = "print(open('/var/lib/dpkg/status').read())"
    status, talk = run(engine, image_ref(BASE), "python3", "-c", program)
    assert status == 0
    packages = [line for line in talk.splitlines() if line.startswith("Package: ")]
    assert {"Package: libc6", "Package: libssl3t64", "Package: python3-minimal"} <= set(packages)
    assert talk.count("Status: install ok installed") == len(packages)


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("agent", 1, "environment variable IOTEDGE_MANAGEMENTURI is not set"),
        ("diagnostics", 2, "the following arguments are required: verb"),
        ("hub", 1, "environment variable IOTEDGE_WORKLOADURI is not set"),
        ("sample-sensor", 2, "IOTEDGE_WORKLOADURI is not set"),
    ],
)
def test_programs_start_as_their_users(
    engine: Moby, images: dict[str, ContainerImage], name: str, status: int, message: str
) -> None:
    """Everything that they import is there; without a module's environment they say so."""
    found, talk = run(engine, image_ref(name))
    assert message in talk
    assert found == status
    program = "import os; print(os.getuid(), os.getgid())"
    user = load_container(name, CHECKOUT).user
    assert run(engine, image_ref(name), "python3", "-c", program) == (0, f"{user} {user}\n")


@pytest.mark.parametrize("name", NAMES)
def test_the_containerfile_gives_the_same_tree(
    engine: Moby, images: dict[str, ContainerImage], name: str
) -> None:
    """Path by path: kind, rights, owner, content; and the same settings."""
    tag = f"localhost/test/{name}:built"
    events = engine.api.build(
        fileobj=context(),
        custom_context=True,
        dockerfile=f"images/containers/{name}/Containerfile",
        tag=tag,
        network_mode="none",
        decode=True,
    )
    talk = "".join(str(event) for event in events)
    assert "Successfully built" in talk, talk
    assert tree_of(engine, tag) == tree_of(engine, image_ref(name))
    built, assembled = (engine.api.inspect_image(ref)["Config"] for ref in (tag, image_ref(name)))
    for key in ("Entrypoint", "User"):
        assert built[key] == assembled[key]
    assert sorted(built["Env"]) == sorted(assembled["Env"])


def context() -> io.BytesIO:
    """Return what `docker build .` sends from a fresh checkout."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for folder in ("images/containers", "runtime/skerry"):
            archive.add(CHECKOUT.root / folder, folder, filter=without_caches)
    data.seek(0)
    return data


def without_caches(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what git ignores."""
    return None if Path(member.name).name in IGNORED_NAMES else member


def tree_of(engine: Moby, image: str) -> dict[str, tuple[object, ...]]:
    """Return every path of an image with all that matters but times."""
    host = engine.api.create_host_config(network_mode="none")
    made: Any = engine.api.create_container(image, host_config=host)
    try:
        data = io.BytesIO(b"".join(engine.api.export(made)))
    finally:
        engine.api.remove_container(made)
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=data) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            digest = "" if stream is None else hashlib.sha256(stream.read()).hexdigest()
            facts = (member.type, member.mode, member.uid, member.gid, member.linkname, digest)
            found[member.name.rstrip("/")] = facts
    return found
