"""Layers: bytes that depend on the tree alone, and what of an archive stays."""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from skerry_factory.container_layer import (
    Entry,
    File,
    Folder,
    Link,
    entries_of_archive,
    make_layer,
    plain_entries,
)
from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.errors import FactoryError

TREE: dict[str, Entry] = {
    "usr/bin/tool": File(b"#!/bin/sh\n", 0o755),
    "usr/lib/name with ünïcode and more than a hundred characters " + "x" * 80: File(b"data"),
    "var/lib/own": Folder(0o700, 13622, 13622),
    "bin": Link("usr/bin"),
}


def members_of(layer: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as archive:
        return {member.name: member for member in archive}


def test_a_layer_depends_on_its_tree_alone() -> None:
    """The order in which entries come does not matter."""
    assert make_layer(TREE) == make_layer(dict(reversed(TREE.items())))


def test_a_layer_is_named_by_its_content() -> None:
    """Digest and diff id are the sha256 after and before compression."""
    layer = make_layer(TREE)
    assert layer.digest == hashlib.sha256(layer.data).hexdigest()
    assert layer.diff_id == hashlib.sha256(gzip.decompress(layer.data)).hexdigest()
    assert layer.tree_bytes == len(b"#!/bin/sh\n" + b"data")


def test_members_have_fixed_times_and_numbers_as_owners() -> None:
    """Nothing of the building machine is in a layer; folders on the way are root's."""
    members = members_of(make_layer(TREE).data)
    assert {member.mtime for member in members.values()} == {SOURCE_DATE_EPOCH}
    assert {member.uname + member.gname for member in members.values()} == {""}
    assert list(members) == sorted(members)
    assert (members["usr/lib"].mode, members["usr/lib"].uid) == (0o755, 0)
    own = members["var/lib/own"]
    assert (own.mode, own.uid, own.gid) == (0o700, 13622, 13622)
    assert members["bin"].linkname == "usr/bin"


def test_a_folder_of_the_checkout_becomes_plain_entries(tmp_path: Path) -> None:
    """Mode by the executable bit, whatever the umask was; no bytecode."""
    (tmp_path / "package/__pycache__").mkdir(parents=True)
    (tmp_path / "package/__pycache__/a.pyc").touch()
    (tmp_path / "package/a.py").write_text("a")
    (tmp_path / "package/run").write_text("b")
    (tmp_path / "package/a.py").chmod(0o664)
    (tmp_path / "package/run").chmod(0o775)
    assert plain_entries(tmp_path / "package", "opt/p") == {
        "opt/p": Folder(),
        "opt/p/a.py": File(b"a", 0o644),
        "opt/p/run": File(b"b", 0o755),
    }


def test_a_link_in_the_checkout_is_refused(tmp_path: Path) -> None:
    """What it leads to need not be part of the checkout."""
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(FactoryError, match="neither a file nor a folder"):
        plain_entries(tmp_path, "opt")


def archive_of(folder: Path, *members: tarfile.TarInfo) -> Path:
    path = folder / "tree.tar"
    with tarfile.open(path, "w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def test_an_archive_is_stripped_to_what_is_wanted(tmp_path: Path) -> None:
    """Folders that lead to what stays come along with their own rights; others go."""
    archive = archive_of(
        tmp_path,
        member("."),
        member("./usr", tarfile.DIRTYPE, mode=0o711),
        member("./usr/doc", tarfile.DIRTYPE, mode=0o755),
        member("./usr/doc/copyright", size=1, mode=0o644),
        member("./usr/doc/manual", size=1, mode=0o644),
        member("./usr/games", tarfile.DIRTYPE, mode=0o755),
        member("./usr/same", tarfile.LNKTYPE, linkname="./usr/doc/manual", mode=0o644),
    )
    entries = entries_of_archive(archive, lambda path: path.endswith(("copyright", "same")))
    assert entries == {
        "usr": Folder(0o711),
        "usr/doc": Folder(0o755),
        "usr/doc/copyright": File(b"x"),
        "usr/same": File(b"x"),
    }


def test_a_device_in_an_archive_is_refused(tmp_path: Path) -> None:
    """Containers get their devices from the engine."""
    archive = archive_of(tmp_path, member("dev/null", tarfile.CHRTYPE))
    with pytest.raises(FactoryError, match="dev/null has type"):
        entries_of_archive(archive, lambda path: True)
