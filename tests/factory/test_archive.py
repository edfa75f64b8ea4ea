"""The tree of an appliance as a container image: whole, the same bytes twice, nothing half-made."""

import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from harness.engine import missing_prerequisite, moby
from skerry_factory.archive import write_container_image
from skerry_factory.definition import find_definition
from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.errors import CommandError
from skerry_factory.paths import Checkout

DEFINITION = replace(find_definition("debian-13-amd64", Checkout.of_package()), id="box")
FILES = {"etc/box-release": b"box 1\n", "usr/share/large": bytes(range(256)) * 9000, "a": b""}
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
END_SECONDS = 60


def make_tree(root: Path, names: list[str]) -> Path:
    """Make the files in this order; their times are as a build clamps them."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(FILES[name])
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    for path in (root, *root.rglob("*")):
        os.utime(path, (1, SOURCE_DATE_EPOCH), follow_symlinks=False)
    return root


def test_the_same_tree_gives_the_same_image(tmp_path: Path) -> None:
    """In whatever order and place its files were made; the layer beside it is gone."""
    written = []
    for number, names in enumerate((sorted(FILES), sorted(FILES, reverse=True))):
        root = make_tree(tmp_path / f"tree-{number}", names)
        file = tmp_path / f"{number}.oci.tar"
        write_container_image(DEFINITION, root, file)
        written.append(file.read_bytes())
    assert written[0] == written[1]
    assert not list(tmp_path.glob("*.layer"))


def test_a_tree_that_cannot_be_read_makes_no_image(tmp_path: Path) -> None:
    """What tar said reaches the operator, and there is no file that looks like an image."""
    file = tmp_path / "box.oci.tar"
    with pytest.raises(CommandError, match="nowhere"):
        write_container_image(DEFINITION, tmp_path / "nowhere", file)
    assert not file.exists()


@pytest.mark.engine
def test_an_engine_loads_and_runs_it(tmp_path: Path) -> None:
    """Moby takes the file as it is; the tree of the appliance is that of the container."""
    missing = missing_prerequisite()
    if missing is not None:
        pytest.skip(missing)
    file = tmp_path / "box.oci.tar"
    write_container_image(DEFINITION, make_tree(tmp_path / "tree", sorted(FILES)), file)
    with tarfile.open(file) as archive:
        assert {"index.json", "manifest.json", "oci-layout"} <= set(archive.getnames())
    (tmp_path / "moby").mkdir()
    with moby(tmp_path / "moby") as engine, file.open("rb") as stream:
        events = list(engine.api.load_image(stream))
        assert not [event for event in events if "error" in event]
        (tag,) = [tag for image in engine.api.images() for tag in image["RepoTags"] if "box" in tag]
        assert engine.api.inspect_image(tag)["Config"]["Entrypoint"] == ["/sbin/init"]
        host = engine.api.create_host_config(network_mode="none", binds=["/usr:/usr:ro"])
        made = engine.api.create_container(
            tag, entrypoint=["/usr/bin/cat", "/etc/box-release"], host_config=host
        )
        engine.api.start(made)
        assert engine.api.wait(made, timeout=END_SECONDS)["StatusCode"] == 0
        assert engine.api.logs(made) == b"box 1\n"
