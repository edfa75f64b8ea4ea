"""Differences of images: each area has its changes, and what gives rights is told first."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from skerry_factory.cli import run
from skerry_factory.contents.model import Contents, Entry, Kind
from skerry_factory.diff.compare import Change, compare
from skerry_factory.diff.report import as_text
from skerry_factory.epoch import NAMESPACE
from skerry_factory.gpt import TYPE_LINUX, Partition

STATUS = "Package: {0}\nStatus: install ok installed\nVersion: {1}\nArchitecture: amd64\n\n"
UNITS = "etc/systemd/system/"


def file(text: str, mode: int = 0o644) -> Entry:
    data = text.encode()
    return Entry(Kind.FILE, mode, 0, 0, len(data), read=lambda: data)


def link(target: str) -> Entry:
    return Entry(Kind.LINK, 0o777, 0, 0, target=target)


BASE = {
    "etc/passwd": file("root:x:0:0:root:/root:/usr/sbin/nologin\n"),
    "etc/shadow": file("root:*:1:::\n"),
    "etc/group": file("sudo:x:27:\n"),
    "var/lib/dpkg/status": file(STATUS.format("dash", "1")),
    "var/lib/dpkg/info/dash.list": file("/.\n/bin/dash\n/usr/lib/d.py\n"),
    "usr/bin/dash": file("old", 0o755),
    "tmp": Entry(Kind.FOLDER, 0o1777, 0, 0),
    f"{UNITS}multi-user.target.wants/a.service": link("/usr/lib/systemd/system/a.service"),
}
IMAGE = Contents(BASE, (Partition("data", "", TYPE_LINUX, NAMESPACE, 1 << 20, 1 << 20),))

Case = tuple[dict[str, Entry | None], list[tuple[str, str, str, str]]]
CASES: dict[str, Case] = {
    "a user with a shell": (
        {"etc/passwd": file("root:x:0:0:root:/root:/bin/bash\n")},
        [("users", "root", "changed", "user with a shell")],
    ),
    "a user with a password": (
        {"etc/shadow": file("root:$y$abc:1:::\n")},
        [("users", "root", "changed", "user with a password")],
    ),
    "a member of sudo": (
        {"etc/group": file("sudo:x:27:tech\n")},
        [("groups", "sudo", "changed", "group with rights")],
    ),
    "a socket that listens": (
        {
            f"{UNITS}sockets.target.wants/t.socket": link("/usr/lib/systemd/system/t.socket"),
            "usr/lib/systemd/system/t.socket": file("[Socket]\nListenStream=23\n"),
        },
        [("sockets", "t.socket", "added", "listens")],
    ),
    "a masked unit": (
        {f"{UNITS}b.service": link("/dev/null")},
        [("units", "b.service", "added", "")],
    ),
    "setuid": (
        {"usr/bin/dash": file("old", 0o4755)},
        [("files", "usr/bin/dash", "changed", "setuid")],
    ),
    "capabilities": (
        {"usr/bin/dash": replace(file("old", 0o755), xattrs={"security.capability": b"\1"})},
        [("files", "usr/bin/dash", "changed", "capabilities")],
    ),
    "a folder for everybody": (
        {"srv": Entry(Kind.FOLDER, 0o777, 0, 0)},
        [("files", "srv", "added", "writable for everybody")],
    ),
    "no sticky bit": (
        {"tmp": Entry(Kind.FOLDER, 0o777, 0, 0)},
        [("files", "tmp", "changed", "writable for everybody")],
    ),
    "keys": (
        {"home/tech/.ssh/authorized_keys": file("ssh-ed25519 AAAA")},
        [("files", "home/tech/.ssh/authorized_keys", "added", "key or trust")],
    ),
    "other content of the same size": (
        {"usr/bin/dash": file("new", 0o755)},
        [("files", "usr/bin/dash", "changed", "")],
    ),
    "another owner": (
        {"usr/bin/dash": replace(BASE["usr/bin/dash"], uid=5)},
        [("files", "usr/bin/dash", "changed", "")],
    ),
    "a file that is gone": ({"usr/bin/dash": None}, [("files", "usr/bin/dash", "removed", "")]),
}


def changed(image: Contents, changes: dict[str, Entry | None]) -> Contents:
    entries = {**image.entries, **changes}
    return replace(image, entries={path: one for path, one in entries.items() if one})


def told(changes: list[Change], *, but: Callable[[Change], bool]) -> list[tuple[str, ...]]:
    return [(one.area, one.name, one.what, one.why) for one in changes if not but(one)]


@pytest.mark.parametrize("case", CASES)
def test_a_change_is_found_and_judged(case: str) -> None:
    """Each kind of change is told in its area, with what it means for security."""
    changes, expected = CASES[case]
    found = compare(IMAGE, changed(IMAGE, changes))
    assert told(found, but=lambda one: one.area == "files" and expected[0][0] != "files") == [
        *expected,
        *([("units", "sockets.target.wants/t.socket", "added", "")] if "listens" in case else []),
    ]


def test_an_image_is_the_same_as_itself() -> None:
    """Nothing is found where there is nothing."""
    assert compare(IMAGE, IMAGE) == []
    assert as_text([]) == "the images are the same"


def test_files_of_a_changed_package_are_counted_only() -> None:
    """Who updates a package sees its version, not each of its files."""
    updated: dict[str, Entry | None] = {
        "var/lib/dpkg/status": file(STATUS.format("dash", "2")),
        "usr/bin/dash": file("new", 0o755),
        "usr/lib/__pycache__/d.cpython-313.pyc": file("code"),
        "etc/own": file("x"),
    }
    text = as_text(compare(IMAGE, changed(IMAGE, updated)))
    assert "  ~ dash:amd64: 1 => 2" in text
    assert "  + etc/own: file 0644 0:0 1 bytes" in text
    assert "usr/bin/dash" not in text
    assert "__pycache__" not in text
    assert "2 files of packages with another version" in text


def test_partitions_are_compared() -> None:
    """A partition that grew is told."""
    larger = replace(IMAGE.partitions[0], size_bytes=2 << 20)
    found = compare(IMAGE, replace(IMAGE, partitions=(larger,)))
    assert told(found, but=lambda one: False) == [("partitions", "data", "changed", "")]


def test_security_comes_first() -> None:
    """A setuid file is above everything that only changed."""
    changes: dict[str, Entry | None] = {
        "etc/a": file("x"),
        "var/lib/dpkg/status": file(""),
        "zz": file("x", 0o4755),
    }
    text = as_text(compare(IMAGE, changed(IMAGE, changes)))
    assert text.splitlines()[:2] == ["SECURITY", "  + files zz: file 4755 0:0 1 bytes  [setuid]"]


def test_the_status_tells_whether_they_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 for the same, 1 for different; JSON has every change."""
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    assert run(["diff", str(first), str(second)]) == 0
    (second / "x").write_text("x")
    capsys.readouterr()
    assert run(["diff", str(first), str(second), "--output", "json"]) == 1
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["changes"]] == ["x"]
