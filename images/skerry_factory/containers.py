"""The container images of Skerry, assembled without engine, registry or root.

Every image is the shared base layer and one layer of its own, so a device keeps the base once. The
archives are written whole or not at all; see oci.py for their form.

    entries/container-image/<key>/<name>.tar, image.json
"""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from skerry.base.files import write_atomic
from skerry_factory import __version__
from skerry_factory.cache import Cache, digest_of_file, digest_of_files, key_of
from skerry_factory.container_base import STEP as BASE_STEP
from skerry_factory.container_base import (
    Extract,
    Platform,
    base_key,
    base_layer,
    extract_packages,
    forget_base,
    read_layer,
)
from skerry_factory.container_definition import (
    BASE,
    BaseDefinition,
    ContainerDefinition,
    load_base,
    load_container,
)
from skerry_factory.container_layer import Layer, make_layer
from skerry_factory.oci import Image, write_archive
from skerry_factory.paths import Checkout

STEP = "container-image"
DEFAULT_ARCH = "amd64"
DEFAULT_SUITE = "trixie"


@dataclass(frozen=True)
class ContainerImage:
    """One built image: an entry of preload.json. `file` is the archive's name in its folder."""

    ref: str
    id: str
    file: str
    sha256: str
    size_bytes: int


def build_containers(
    names: Sequence[str],
    out: Path,
    cache: Path,
    *,
    mirror: str | None = None,
    progress: Callable[[str], None],
    suite: str = DEFAULT_SUITE,
    arch: str = DEFAULT_ARCH,
    refresh: bool = False,
    checkout: Checkout | None = None,
    extract: Extract = extract_packages,
) -> list[ContainerImage]:
    """Write `<name>.tar` of every named image into `out`; returns them in the order of the names.

    `progress` is told what is being waited for. `refresh` fetches the packages anew. The caller
    holds the lock of the cache.
    """
    checkout = checkout or Checkout.of_package()
    # definitions first: a wrong one is told before a package is fetched
    base = load_base(checkout)
    definitions = {name: load_container(name, checkout) for name in names if name != BASE}
    store, platform = Cache(cache), Platform(suite, arch, mirror)
    if refresh:
        forget_base(base, platform, store)

    def tell_and_extract(base: BaseDefinition, platform: Platform, archive: Path) -> None:
        progress("mmdebstrap to fetch and unpack Debian packages")
        extract(base, platform, archive)

    layer = base_layer(base, platform, store, tell_and_extract)
    out.mkdir(parents=True, exist_ok=True)
    return [
        _publish(_image(definitions.get(name), base, layer, platform), name, out, store)
        for name in names
    ]


def write_preload_lock(images: Iterable[ContainerImage], path: Path) -> None:
    """Write preload.json, by which edged knows which images the appliance carries."""
    write_atomic(path, preload_lock(images), mode=0o644)


def preload_lock(images: Iterable[ContainerImage]) -> bytes:
    """Return the content of preload.json."""
    content = {"images": [asdict(image) for image in images]}
    return (json.dumps(content, indent=1) + "\n").encode()


def cached_containers(
    names: Sequence[str], cache: Cache, platform: Platform, checkout: Checkout
) -> list[ContainerImage] | None:
    """Return what `build_containers` would give from the cache alone; None when one is missing."""
    base = load_base(checkout)
    key = base_key(base, platform)
    if not cache.has(BASE_STEP, key):
        return None
    layer = read_layer(cache.entry(BASE_STEP, key))
    found = []
    for name in names:
        definition = None if name == BASE else load_container(name, checkout)
        entry = cache.entry(STEP, _image_key(_image(definition, base, layer, platform)))
        if not entry.is_dir():
            return None
        found.append(_read(entry))
    return found


def image_ref(name: str) -> str:
    """Return the reference of an image: a name that no registry can answer."""
    return f"localhost/skerry/{name}:{__version__}"


def _image(
    definition: ContainerDefinition | None, base: BaseDefinition, layer: Layer, platform: Platform
) -> Image:
    layers = [(layer, f"mmdebstrap {platform.suite}: {' '.join(base.packages)}")]
    if definition is None:
        return Image(
            image_ref(BASE), platform.arch, layers, base.env, labels=_labels("Skerry base")
        )
    own = make_layer(definition.entries)
    return Image(
        ref=image_ref(definition.name),
        arch=platform.arch,
        layers=[*layers, (own, f"skerry-factory containers {definition.name}")],
        env={**base.env, **definition.env},
        entrypoint=definition.entrypoint,
        user=f"{definition.user}:{definition.user}",
        ports=definition.ports,
        labels=_labels(definition.title),
    )


def _labels(title: str) -> dict[str, str]:
    return {
        "org.opencontainers.image.title": title,
        "org.opencontainers.image.version": __version__,
    }


def _publish(image: Image, name: str, out: Path, cache: Cache) -> ContainerImage:
    def make(folder: Path) -> None:
        archive = write_archive(image)
        file = folder / f"{name}.tar"
        file.write_bytes(archive.data)
        built = ContainerImage(
            image.ref, archive.id, file.name, digest_of_file(file), len(archive.data)
        )
        (folder / "image.json").write_text(json.dumps(asdict(built)), "utf-8")

    entry = cache.fetch(STEP, _image_key(image), make)
    built = _read(entry)
    if not _is_there(out / built.file, built):
        _copy_whole(entry / built.file, out / built.file)
    return built


def _read(entry: Path) -> ContainerImage:
    return ContainerImage(**json.loads((entry / "image.json").read_text("utf-8")))


def _image_key(image: Image) -> str:
    layers = [(layer.diff_id, layer.digest, made_by) for layer, made_by in image.layers]
    code = digest_of_files(
        [*(Path(__file__).with_name(name) for name in ("oci.py", "bundle.py")), Path(__file__)]
    )
    return key_of({**asdict(image), "layers": layers}, code)


def _is_there(file: Path, image: ContainerImage) -> bool:
    return (
        file.is_file()
        and file.stat().st_size == image.size_bytes
        and digest_of_file(file) == image.sha256
    )


def _copy_whole(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        shutil.copyfile(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
