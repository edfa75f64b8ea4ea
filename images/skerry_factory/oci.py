"""Container image archives: an OCI layout that also carries Docker's manifest.json.

    oci-layout  index.json            read by Moby with containerd's image store
    manifest.json                     read by every Moby since 1.10
    blobs/sha256/<digest>             manifest, configuration, layers; each once

The same image gives the same bytes, in memory or in a file. The image id, by which Moby's own store
knows an image, is the sha256 of its configuration; containerd's store knows it by that of its
manifest.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from skerry_factory.bundle import write_bundle
from skerry_factory.container_layer import Layer, StoredLayer
from skerry_factory.epoch import SOURCE_DATE_EPOCH

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
OS = "linux"


@dataclass(frozen=True)
class Image:
    """An image before it is written; `layers` from the lowest up, each with what made it."""

    ref: str
    arch: str
    layers: Sequence[tuple[Layer | StoredLayer, str]]
    env: Mapping[str, str]
    entrypoint: Sequence[str] = ()
    user: str = ""
    ports: Sequence[int] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Archive:
    """An image as the bytes of one file; `id` and `manifest_digest` are `sha256:…`."""

    id: str
    manifest_digest: str
    data: bytes


def write_archive(image: Image) -> Archive:
    """Return the archive of an image."""
    config, manifest = _config_and_manifest(image)
    buffer = io.BytesIO()
    write_bundle(_members(image, config, manifest), buffer)
    return Archive(f"sha256:{_digest(config)}", f"sha256:{_digest(manifest)}", buffer.getvalue())


def write_archive_file(image: Image, target: Path) -> None:
    """Write the archive of an image into a file, which may be larger than the memory."""
    members = _members(image, *_config_and_manifest(image))
    with target.open("xb") as stream:
        write_bundle(members, stream)


def _config_and_manifest(image: Image) -> tuple[bytes, bytes]:
    config = _json(image_config(image))
    layers = [_described(LAYER_TYPE, layer.digest, layer.size_bytes) for layer, _ in image.layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(CONFIG_TYPE, config),
        "layers": layers,
    }
    return config, _json(manifest)


def _members(image: Image, config: bytes, manifest: bytes) -> dict[str, bytes | Path]:
    layers = {layer.digest: layer.data for layer, _ in image.layers}
    blobs = {_digest(config): config, _digest(manifest): manifest, **layers}
    return {
        "index.json": _json(_index(image, manifest)),
        "manifest.json": _json(_docker_manifest(image, config)),
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        **{_blob_path(digest): data for digest, data in blobs.items()},
    }


def image_config(image: Image) -> dict[str, object]:
    """Return the image configuration (OCI image spec, config.md)."""
    created = datetime.fromtimestamp(SOURCE_DATE_EPOCH, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    settings: dict[str, object] = {
        "Env": [f"{name}={value}" for name, value in sorted(image.env.items())],
        "Labels": dict(sorted(image.labels.items())),
    }
    if image.entrypoint:
        settings["Entrypoint"] = list(image.entrypoint)
    if image.user:
        settings["User"] = image.user
    if image.ports:
        settings["ExposedPorts"] = {f"{port}/tcp": {} for port in sorted(image.ports)}
    return {
        "architecture": image.arch,
        "os": OS,
        "created": created,
        "config": settings,
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{layer.diff_id}" for layer, _ in image.layers],
        },
        "history": [{"created": created, "created_by": made_by} for _, made_by in image.layers],
    }


def _index(image: Image, manifest: bytes) -> dict[str, object]:
    tag = image.ref.rpartition(":")[2]
    names = {"io.containerd.image.name": image.ref, "org.opencontainers.image.ref.name": tag}
    platform = {"architecture": image.arch, "os": OS}
    entry = {**_descriptor(MANIFEST_TYPE, manifest), "annotations": names, "platform": platform}
    return {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}


def _docker_manifest(image: Image, config: bytes) -> list[dict[str, object]]:
    layers = [_blob_path(layer.digest) for layer, _ in image.layers]
    return [{"Config": _blob_path(_digest(config)), "RepoTags": [image.ref], "Layers": layers}]


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return _described(media_type, _digest(data), len(data))


def _described(media_type: str, digest: str, size_bytes: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size_bytes}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _blob_path(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
