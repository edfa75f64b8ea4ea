"""Image archives: an OCI layout and Docker's manifest over the same blobs."""

import hashlib
import io
import json
import tarfile

from skerry_factory.container_layer import File, make_layer
from skerry_factory.oci import Archive, Image, write_archive

LOWER = make_layer({"etc/a": File(b"lower")})
UPPER = make_layer({"etc/b": File(b"upper")})
IMAGE = Image(
    ref="localhost/test/image:1",
    arch="amd64",
    layers=[(LOWER, "base"), (UPPER, "own")],
    env={"B": "2", "A": "1"},
    entrypoint=("python3", "-m", "x"),
    user="13622:13622",
    ports=(8883, 443),
    labels={"title": "t"},
)


def content_of(archive: Archive) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive.data)) as tar:
        streams = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        return {name: stream.read() for name, stream in streams.items() if stream is not None}


def test_every_blob_is_named_by_its_digest() -> None:
    """Configuration, manifest and both layers, each once."""
    blobs = {
        name.removeprefix("blobs/sha256/"): data
        for name, data in content_of(write_archive(IMAGE)).items()
        if name.startswith("blobs/")
    }
    assert len(blobs) == 4
    assert {name: hashlib.sha256(data).hexdigest() for name, data in blobs.items()} == {
        name: name for name in blobs
    }


def test_the_oci_index_leads_to_the_layers() -> None:
    """Index, manifest, configuration, layers: every descriptor's digest and size are right."""
    archive = write_archive(IMAGE)
    content = content_of(archive)
    assert json.loads(content["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    entry = json.loads(content["index.json"])["manifests"][0]
    assert entry["digest"] == archive.manifest_digest
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/test/image:1"
    manifest = json.loads(content[blob(entry["digest"])])
    assert manifest["config"]["digest"] == archive.id
    for descriptor in (entry, manifest["config"], *manifest["layers"]):
        assert len(content[blob(descriptor["digest"])]) == descriptor["size"]
    assert [layer["digest"] for layer in manifest["layers"]] == [
        f"sha256:{LOWER.digest}",
        f"sha256:{UPPER.digest}",
    ]


def test_docker_finds_the_same_configuration_and_layers() -> None:
    """manifest.json, which is all that Moby's own store reads."""
    archive = write_archive(IMAGE)
    (entry,) = json.loads(content_of(archive)["manifest.json"])
    assert entry == {
        "Config": blob(archive.id),
        "RepoTags": ["localhost/test/image:1"],
        "Layers": [blob(LOWER.digest), blob(UPPER.digest)],
    }


def test_the_configuration_says_how_to_run_it() -> None:
    """User, entry point, ports, environment in a fixed order, and the layers before compression."""
    archive = write_archive(IMAGE)
    config = json.loads(content_of(archive)[blob(archive.id)])
    assert config["config"] == {
        "Entrypoint": ["python3", "-m", "x"],
        "Env": ["A=1", "B=2"],
        "ExposedPorts": {"443/tcp": {}, "8883/tcp": {}},
        "Labels": {"title": "t"},
        "User": "13622:13622",
    }
    diff_ids = [f"sha256:{layer.diff_id}" for layer in (LOWER, UPPER)]
    assert config["rootfs"] == {"type": "layers", "diff_ids": diff_ids}
    assert [entry["created_by"] for entry in config["history"]] == ["base", "own"]


def test_the_same_image_gives_the_same_bytes() -> None:
    """Twice the same, and the order of the environment does not matter."""
    again = Image(**{**IMAGE.__dict__, "env": {"A": "1", "B": "2"}})
    assert write_archive(IMAGE) == write_archive(again)


def blob(digest: str) -> str:
    """Return the path of a blob."""
    return f"blobs/sha256/{digest.removeprefix('sha256:').removeprefix('blobs/sha256/')}"
