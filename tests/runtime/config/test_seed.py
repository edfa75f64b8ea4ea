"""A seed is read whole and refused whole, with every reason."""

import json
from pathlib import Path

import pytest

from harness.seeds import write_manifest, write_seed
from skerry.config.seed import SeedError, is_empty, read_seed
from skerry_factory import stamp
from skerry_factory.stamp import seed_files

CONFIG = b'[provisioning]\nsource = "standalone"\n'
FILES = {
    "config.toml": CONFIG,
    "authorized_keys": b"ssh-ed25519 AAAA tech@site\n",
    "network/10-lan.network": b"[Match]\nName=en*\n",
    "secrets/edge.key": b"KEY",
}


def _refusal(folder: Path) -> str:
    with pytest.raises(SeedError) as caught:
        read_seed(folder)
    return str(caught.value)


def test_a_good_seed_is_read(tmp_path: Path) -> None:
    """All files come back; error.txt and what other systems leave on a stick are no part of it."""
    write_seed(tmp_path, FILES)
    (tmp_path / "error.txt").write_text("before")
    (tmp_path / "System Volume Information").mkdir()
    (tmp_path / "System Volume Information" / "x").write_text("")
    seed = read_seed(tmp_path)
    assert (seed.device, dict(seed.files), len(seed.digest)) == ("pump-7", FILES, 64)


def test_an_unstamped_partition_is_empty(tmp_path: Path) -> None:
    """No manifest and no file is no seed; any file makes it one."""
    (tmp_path / "error.txt").write_text("before")
    assert is_empty(tmp_path)
    (tmp_path / "config.toml").write_bytes(CONFIG)
    assert not is_empty(tmp_path)
    assert _refusal(tmp_path) == "the seed has no manifest.json"


def test_every_reason_is_given(tmp_path: Path) -> None:
    """Missing, superfluous, misplaced and changed files are all named."""
    write_seed(tmp_path, {**FILES, "secrets/a b": b"", "autorun.inf": b""})
    (tmp_path / "authorized_keys").unlink()
    (tmp_path / "config.toml").write_bytes(b"changed")
    (tmp_path / "network/11-more.network").write_bytes(b"")
    lines = _refusal(tmp_path).splitlines()
    assert lines[:-1] == [
        "authorized_keys is missing",
        "network/11-more.network is not in manifest.json",
        "'secrets/a b' has no place in a seed",
        "'autorun.inf' has no place in a seed",
    ]
    assert lines[-1].startswith("config.toml has sha256 ")


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ([], "manifest.json has version None, expected 1"),
        ({"version": 2}, "manifest.json has version 2, expected 1"),
        ({"version": 1}, "device None is no name; use letters, digits, '-' and '.'"),
        ({"version": 1, "device": "?"}, "device '?' is no name; use letters, digits, '-' and '.'"),
        ({"version": 1, "device": "a"}, "manifest.json has no table of files and their sha256"),
        ({"version": 1, "device": "a", "files": {}}, "manifest.json names no config.toml"),
    ],
)  # fmt: skip
def test_a_manifest_that_is_wrong_is_refused(tmp_path: Path, manifest: object, reason: str) -> None:
    """An unknown version, a bad name and a missing part are each said."""
    write_manifest(tmp_path, manifest)
    assert _refusal(tmp_path) == reason


def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path) -> None:
    """The place of the first error is given."""
    (tmp_path / "manifest.json").write_text("{")
    assert _refusal(tmp_path).startswith("manifest.json is no JSON: ")


def test_a_manifest_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """A manifest over the limit is not read."""
    (tmp_path / "manifest.json").write_bytes(b" " * (1024 * 1024 + 1))
    assert "expected at most 1048576" in _refusal(tmp_path)


def test_a_file_over_one_mebibyte_is_refused(tmp_path: Path) -> None:
    """The limit of docs/seed.md holds for each file."""
    write_seed(tmp_path, {**FILES, "secrets/big": b"x" * (1024 * 1024 + 1)})
    assert "secrets/big has 1048577 bytes, expected at most 1048576" in _refusal(tmp_path)


def test_more_than_64_files_are_refused(tmp_path: Path) -> None:
    """The number of files is bounded too."""
    write_seed(tmp_path, {**FILES, **{f"secrets/{n}": b"" for n in range(64)}})
    assert _refusal(tmp_path) == "the seed has 68 files, expected at most 64"


def test_a_link_is_not_followed_into_the_device(tmp_path: Path) -> None:
    """A link to a folder is a file that the manifest does not name."""
    write_seed(tmp_path / "seed", FILES)
    (tmp_path / "seed/secrets/etc").symlink_to("/etc")
    assert _refusal(tmp_path / "seed") == "secrets/etc is not in manifest.json"


def test_the_digest_is_that_of_the_manifest(tmp_path: Path) -> None:
    """Two seeds with the same files are the same seed."""
    one = read_seed(write_seed(tmp_path / "a", FILES))
    two = read_seed(write_seed(tmp_path / "b", FILES))
    assert one.digest == two.digest
    assert json.loads((tmp_path / "a/manifest.json").read_text())["version"] == 1


def test_what_the_factory_stamps_is_read(tmp_path: Path) -> None:
    """Both sides of docs/seed.md agree."""
    (tmp_path / "config.toml").write_bytes(CONFIG)
    for name, data in (
        ("keys", b"ssh-ed25519 AAAA t\n"),
        ("s", b"KEY"),
        ("1.network", b"[Match]\n"),
    ):
        (tmp_path / name).write_bytes(data)
    stamped = seed_files(
        stamp.Seed(
            "press-41",
            tmp_path / "config.toml",
            [tmp_path / "keys"],
            {"edge.key": tmp_path / "s"},
            [tmp_path / "1.network"],
        )
    )
    for name, data in stamped.items():
        (tmp_path / "seed" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "seed" / name).write_bytes(data)
    seed = read_seed(tmp_path / "seed")
    assert (seed.device, {**seed.files}) == (
        "press-41", {name: data for name, data in stamped.items() if name != "manifest.json"},
    )  # fmt: skip
