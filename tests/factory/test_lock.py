"""Locks: what is written is what is read, and no wrong byte of the store is used."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from skerry_factory.cache import Cache, digest_of_file
from skerry_factory.errors import FactoryError
from skerry_factory.lock import (
    Lock,
    Package,
    difference,
    locked_mirror,
    missing,
    put,
    read_lock,
    stored,
    verify,
    write_lock,
)
from skerry_factory.resolving import ANSWER, private_apt

SAID = (
    "'http://mirror.example/pool/main/u/udev/udev_257.13_amd64.deb' udev_1%3a257.13_amd64.deb 12 "
    f"SHA256:{'a' * 64}\n"
)


def make_deb(folder: Path, name: str, version: str = "1.0", depends: str = "") -> Path:
    """Build an empty Debian package."""
    tree = folder / name
    (tree / "DEBIAN").mkdir(parents=True)
    needs = f"Depends: {depends}\n" if depends else ""
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: T <t@site.example>\n"
        f"{needs}Description: a test\n"
    )
    file = folder / f"{name}_{version.replace(':', '%3a')}_all.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", tree, file], check=True, capture_output=True
    )
    return file


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def lock(tmp_path: Path, cache: Cache) -> Lock:
    """A lock of two packages, both in the store."""
    packages = []
    for name, version in (("one", "1:2.0"), ("two", "1.0")):
        file = make_deb(tmp_path / "made", name, version)
        size, digest = file.stat().st_size, digest_of_file(file)
        packages.append(Package(name, "all", version, size, digest, "important"))
        put(file, packages[-1], cache.root / "store")
    return Lock("question", tuple(packages))


def test_a_lock_is_read_as_it_was_written(lock: Lock, tmp_path: Path) -> None:
    """One line for each package, sorted, so that a change is one line."""
    write_lock(tmp_path / "image.lock", replace(lock, packages=lock.packages[::-1]))
    assert read_lock(tmp_path / "image.lock") == lock
    assert len((tmp_path / "image.lock").read_text().splitlines()) == 4


@pytest.mark.parametrize("text", ["{", "[]", '{"asked": "x", "packages": [{"name": "a"}]}'])
def test_what_is_no_lock_is_refused(tmp_path: Path, text: str) -> None:
    """A damaged lock is named, with what to do."""
    (tmp_path / "image.lock").write_text(text)
    with pytest.raises(FactoryError, match=r"is no lock .*remove it and fetch again"):
        read_lock(tmp_path / "image.lock")


def test_a_missing_lock_names_the_command(tmp_path: Path) -> None:
    """Whoever builds locked without a lock is told how to get one."""
    with pytest.raises(FactoryError, match="run: skerry-factory fetch box"):
        read_lock(tmp_path / "box/image.lock")


def test_the_whole_store_is_an_archive_for_apt(lock: Lock, cache: Cache) -> None:
    """apt installs from it without a network, by suite too, epochs included."""
    with private_apt("amd64", f"{locked_mirror(lock, 'trixie', cache)}\n") as apt:
        assert sorted(apt.resolve(["?codename(trixie)"])) == sorted(lock.packages)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("remove", "one 1:2.0 is missing"),
        ("truncate", "one 1:2.0 has 100 of"),
        ("change", "one 1:2.0 has another content"),
    ],
)
def test_a_wrong_file_is_named(lock: Lock, cache: Cache, damage: str, told: str) -> None:
    """A package that is away, short or another stops the build before anything is made."""
    file = stored(cache.root / "store", lock.packages[0])
    content = bytearray(file.read_bytes())
    file.unlink()
    if damage == "truncate":
        file.write_bytes(content[:100])
    elif damage == "change":
        content[-1] ^= 1
        file.write_bytes(content)
    with pytest.raises(FactoryError, match=r"1 locked package.*nothing was built") as refused:
        locked_mirror(lock, "trixie", cache)
    assert told in str(refused.value)
    assert not (cache.root / "entries").exists()


def test_many_wrong_files_are_counted(lock: Lock, tmp_path: Path) -> None:
    """The first few are named, the rest counted."""
    many = replace(lock, packages=tuple(replace(lock.packages[0], name=f"p{n}") for n in range(9)))
    with pytest.raises(FactoryError, match=r"9 locked package\(s\)(.|\n)*… and 4 more"):
        verify(many, tmp_path / "empty")


def test_only_what_the_store_lacks_is_fetched(lock: Lock, cache: Cache) -> None:
    """A short file counts as lacking."""
    store = cache.root / "store"
    assert missing(lock, store) == []
    stored(store, lock.packages[1]).write_bytes(b"")
    assert missing(lock, store) == [lock.packages[1]]


def test_what_arrives_with_another_content_is_not_stored(lock: Lock, tmp_path: Path) -> None:
    """A download that is not what was locked gets no name in the store."""
    (tmp_path / "arrived").write_bytes(b"other")
    with pytest.raises(FactoryError, match=r"one 1:2\.0 arrived with another content"):
        put(tmp_path / "arrived", lock.packages[0], tmp_path / "new")
    assert list((tmp_path / "new").glob("*/*")) == []


def test_a_difference_is_readable(lock: Lock) -> None:
    """Added, removed, other version, other file."""
    one, two = lock.packages
    three = replace(two, name="three")
    assert difference([one, two], [replace(one, version="3"), three]) == [
        "  one:all 1:2.0 → 3",
        "+ three:all 1.0",
        "- two:all 1.0",
    ]
    assert difference([one], [replace(one, sha256="0" * 64)]) == ["  one:all 1:2.0 → another file"]
    assert difference([one, two], [two, one]) == []


def test_apts_answer_is_understood() -> None:
    """The name on disk has the epoch, escaped; URL and all else are not kept."""
    assert ANSWER.findall(SAID) == [("udev", "1%3a257.13", "amd64", "12", "a" * 64)]
    assert ANSWER.findall(SAID.replace("SHA256:" + "a" * 64, "MD5Sum:" + "a" * 32)) == []


def test_the_lock_names_no_place(lock: Lock, tmp_path: Path) -> None:
    """A lock holds for every mirror and every machine."""
    write_lock(tmp_path / "image.lock", lock)
    fields = json.loads((tmp_path / "image.lock").read_text())["packages"][0]
    assert sorted(fields) == ["arch", "name", "priority", "sha256", "size_bytes", "version"]
    shutil.rmtree(tmp_path / "made")
    assert str(tmp_path) not in (tmp_path / "image.lock").read_text()
