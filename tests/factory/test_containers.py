"""Building the images with a stand-in for mmdebstrap: cache, definitions, the verb."""

import io
import json
import shutil
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import skerry_factory.cli as cli
from skerry_factory.container_base import Platform, base_key
from skerry_factory.container_definition import (
    BaseDefinition,
    container_names,
    load_base,
    load_container,
)
from skerry_factory.containers import (
    ContainerImage,
    build_containers,
    image_ref,
    write_preload_lock,
)
from skerry_factory.errors import DefinitionError, FactoryError
from skerry_factory.paths import Checkout

CHECKOUT = Checkout.of_package()
NAMES = ("agent", "sample-sensor")


@dataclass
class Bench:
    """A cache, an output folder, and a stand-in for Debian's archive that notes its calls."""

    folder: Path
    calls: list[Platform] = field(default_factory=list)
    broken: bool = False

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def extract(self, base: BaseDefinition, platform: Platform, archive: Path) -> None:
        self.calls.append(platform)
        with tarfile.open(archive, "w") as tar:
            for name in ("./usr/bin/python3", "./usr/bin/tar", "./usr/share/doc/x/copyright"):
                info = tarfile.TarInfo(name)
                info.size, info.mode = 5, 0o755
                tar.addfile(info, io.BytesIO(b"bytes"))
                if self.broken:
                    raise FactoryError("no route to the mirror")

    def build(self, *names: str, out: Path | None = None, **options: Any) -> list[ContainerImage]:
        """Build images; the default is both."""
        return build_containers(
            names or NAMES,
            out or self.out,
            self.cache,
            progress=lambda text: None,
            extract=self.extract,
            **options,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_images_are_written_with_their_facts(bench: Bench) -> None:
    """Name, digest and size are those of the files; references no registry can answer."""
    images = bench.build()
    assert [image.file for image in images] == ["agent.tar", "sample-sensor.tar"]
    assert images[0].ref == image_ref("agent") == "localhost/skerry/agent:0.1.0"
    assert [(bench.out / image.file).stat().st_size for image in images] == [
        image.size_bytes for image in images
    ]
    assert sorted(path.name for path in bench.out.iterdir()) == ["agent.tar", "sample-sensor.tar"]


def test_images_share_their_base(bench: Bench) -> None:
    """Packages are fetched once, and the first layer is the same blob."""
    images = bench.build()
    layers = []
    for image in images:
        with tarfile.open(bench.out / image.file) as archive:
            stream = archive.extractfile("manifest.json")
            assert stream is not None
            layers.append(json.load(stream)[0]["Layers"])
    assert len(bench.calls) == 1
    assert layers[0][0] == layers[1][0]
    assert layers[0][1] != layers[1][1]


def test_a_second_build_in_another_place_gives_the_same_bytes(bench: Bench, tmp_path: Path) -> None:
    """Another cache, another output folder, the same files."""
    first = bench.build()
    shutil.rmtree(bench.cache)
    assert bench.build(out=tmp_path / "again") == first
    for image in first:
        again = (tmp_path / "again" / image.file).read_bytes()
        assert again == (bench.out / image.file).read_bytes()


def test_what_is_built_already_is_not_built_again(bench: Bench) -> None:
    """Not even written: the file keeps its inode."""
    bench.build()
    before = [path.stat().st_ino for path in sorted(bench.out.iterdir())]
    bench.build()
    assert [path.stat().st_ino for path in sorted(bench.out.iterdir())] == before
    assert len(bench.calls) == 1


def test_a_damaged_file_is_written_anew(bench: Bench) -> None:
    """The output is compared by its digest, not by its size."""
    (image,) = bench.build("agent")
    file = bench.out / image.file
    good = file.read_bytes()
    file.write_bytes(b"\0" * len(good))
    bench.build("agent")
    assert file.read_bytes() == good


def test_a_refresh_fetches_the_packages_anew(bench: Bench) -> None:
    """For security updates, whose packages have the same names."""
    bench.build()
    bench.build(refresh=True)
    assert len(bench.calls) == 2


def test_packages_are_for_suite_and_architecture(bench: Bench) -> None:
    """Both have a say in the image's id."""
    (amd64,) = bench.build("agent")
    (arm64,) = bench.build("agent", arch="arm64", suite="trixie", mirror="http://mirror.example/d")
    assert amd64.id != arm64.id
    assert bench.calls == [
        Platform("trixie", "amd64"),
        Platform("trixie", "arm64", "http://mirror.example/d"),
    ]


def test_a_failed_build_leaves_nothing(bench: Bench) -> None:
    """No half archive, no half entry in the cache."""
    bench.broken = True
    with pytest.raises(FactoryError, match="no route to the mirror"):
        bench.build()
    assert not bench.out.exists() or list(bench.out.iterdir()) == []
    assert not list(bench.cache.glob("entries/*/*"))


def test_every_part_of_the_base_has_a_say_in_its_key() -> None:
    """Platform and packages; a key that misses one would give a stale layer."""
    base = load_base(CHECKOUT)
    usual = Platform("trixie", "amd64")
    keys = {
        base_key(base, usual),
        base_key(base, Platform("trixie", "arm64")),
        base_key(base, Platform("trixie", "amd64", "http://mirror.example")),
        base_key(replace(base, keep=()), usual),
        base_key(replace(base, bytecode=()), usual),
        base_key(replace(base, entries={}), usual),
    }
    assert len(keys) == 6


def test_an_unknown_name_is_told_before_anything_is_fetched(bench: Bench) -> None:
    """With the nearest known one."""
    with pytest.raises(FactoryError, match="did you mean 'agent'"):
        bench.build("agnet")
    assert bench.calls == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[image", "no TOML", id="syntax"),
        pytest.param("[files]\n", "image: missing", id="no image"),
        pytest.param(
            '[image]\ntitle="t"\nuser=0\nentrypoint=["x"]\n[files]\n', "image.user", id="root"
        ),
        pytest.param(
            '[image]\ntitle="t"\nuser=9\nentrypoint=["x"]\n[files]\n"x" = "Makefile"\n',
            "is not absolute",
            id="relative target",
        ),
        pytest.param(
            '[image]\ntitle="t"\nuser=9\nentrypoint=["x"]\n[files]\n"/x" = "no/such"\n',
            "'no/such' does not exist",
            id="no source",
        ),
        pytest.param(
            '[image]\ntitle="t"\nuser=9\nentrypoint=["x"]\nport=1\n[files]\n', "port", id="unknown"
        ),
    ],
)
def test_a_wrong_definition_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Each with its key."""
    folder = tmp_path / "images/containers/own"
    folder.mkdir(parents=True)
    (folder / "image.toml").write_text(text)
    with pytest.raises(DefinitionError) as caught:
        load_container("own", Checkout(tmp_path))
    assert message in str(caught.value)
    assert "no container image was built" in str(caught.value)


@pytest.mark.parametrize("name", container_names(CHECKOUT))
def test_no_image_runs_as_root_or_carries_bytecode(name: str) -> None:
    """And every one has a Containerfile that says the same as its image.toml."""
    definition = load_container(name, CHECKOUT)
    assert definition.user != 0
    assert not [path for path in definition.entries if "__pycache__" in path]
    text = (CHECKOUT.root / "images/containers" / name / "Containerfile").read_text()
    assert f"USER {definition.user}:{definition.user}\n" in text
    assert f"ENTRYPOINT {json.dumps(list(definition.entrypoint))}\n" in text
    exposed = f"EXPOSE {' '.join(map(str, definition.ports))}\n"
    assert (exposed in text) == ("EXPOSE" in text) == bool(definition.ports)
    for variable, value in definition.env.items():
        assert f"ENV {variable}={value}\n" in text


def test_the_lock_names_what_the_appliance_carries(tmp_path: Path) -> None:
    """The shape of docs/interfaces.md section 5."""
    image = ContainerImage("localhost/skerry/x:1", "sha256:1", "x.tar", "2", 3)
    write_preload_lock([image], tmp_path / "preload.json")
    assert json.loads((tmp_path / "preload.json").read_text()) == {
        "images": [
            {
                "ref": "localhost/skerry/x:1",
                "id": "sha256:1",
                "file": "x.tar",
                "sha256": "2",
                "size_bytes": 3,
            }
        ]
    }


def test_the_verb_builds_all_images_and_their_lock(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paths on standard output, the display on standard error."""
    names = container_names(CHECKOUT)
    bench.build(*names, out=bench.folder / "elsewhere")
    options = ["--cache", str(bench.cache), "--out", str(bench.out)]
    assert cli.run(["containers", *options]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [str(bench.out / f"{name}.tar") for name in names]
    assert "containers" in told.err
    assert cli.run(["containers", "agent", "--output", "json", *options]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["images"] == json.loads((bench.out / "preload.json").read_text())["images"]


def test_the_verb_says_what_went_wrong(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, one message, nothing written."""
    options = ["--cache", str(bench.cache), "--out", str(bench.out)]
    assert cli.run(["containers", "agnet", *options]) == 1
    assert "did you mean 'agent'" in capsys.readouterr().err
    assert not bench.out.exists()
