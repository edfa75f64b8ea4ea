"""The first layer: which packages, from where, and what must not stay of the build host."""

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import pytest

from skerry_factory.bootstrap import (
    BOOT_PACKAGES,
    DPKG_OPTIONS,
    default_sources,
    empty_folders,
    plan_bootstrap,
    remove_from,
    role_packages,
)
from skerry_factory.deb import data_tree
from skerry_factory.definition import Definition, find_definition
from skerry_factory.errors import FactoryError
from skerry_factory.paths import Checkout


@pytest.fixture
def definition() -> Definition:
    return find_definition("debian-13-amd64", Checkout.of_package())


def test_packages_of_boot_definition_and_roles_are_one_list(
    definition: Definition, tmp_path: Path
) -> None:
    """Everything is installed in one transaction, each name once."""
    folder = tmp_path / "roles/clock/vars"
    folder.mkdir(parents=True)
    (folder / "packages.yml").write_text("__clock_packages: [chrony, tzdata]\n")
    own = replace(definition, packages=("chrony",), roles=("clock",))
    plan = plan_bootstrap(own, Checkout(tmp_path), None)
    assert plan.packages == tuple(sorted({*BOOT_PACKAGES, "chrony", "tzdata"}))


def is_left_out(path: str, *, is_folder: bool) -> bool:
    """Tell what dpkg does: the last option that matches counts, and `*` stands for slashes, too.

    A folder also stays when it begins as an include does, up to that one's first wildcard.
    """
    options = [option.partition("=")[::2] for option in DPKG_OPTIONS]
    if is_folder:
        starts = (text.partition("*")[0].rstrip("/") for kind, text in options if "include" in kind)
        if any(path.startswith(start) for start in starts):
            return False
    matching = [kind for kind, pattern in options if fnmatchcase(path, pattern)]
    return matching[-1:] == ["path-exclude"]


def test_no_file_of_the_runtime_is_left_out() -> None:
    """Nor the folder that it is in, which dpkg does not make by itself."""
    files = [PurePosixPath("/", path) for path in data_tree(Checkout.of_package().root / "runtime")]
    folders = {file.parent for file in files}
    assert [file for file in files if is_left_out(str(file), is_folder=False)] == []
    assert [one for one in folders if is_left_out(str(one), is_folder=True)] == []


def test_dependencies_of_the_runtime_are_among_them(definition: Definition) -> None:
    """What the runtime's Debian package depends on is installed with the rest."""
    plan = plan_bootstrap(definition, Checkout.of_package(), None)
    assert {"python3-h11", "python3-docker", "python3-cryptography"} <= set(plan.packages)
    assert not any(" " in name or "|" in name for name in plan.packages)


def test_the_option_wins_over_the_definition(definition: Definition, tmp_path: Path) -> None:
    """A mirror of the command line is used instead of the definition's."""
    own = replace(definition, mirror="https://a.example/debian", roles=())
    checkout = Checkout(tmp_path)
    assert plan_bootstrap(own, checkout, None).mirror == "https://a.example/debian"
    assert plan_bootstrap(own, checkout, "file:///b").mirror == "file:///b"


def test_an_unknown_role_is_named(tmp_path: Path) -> None:
    """A role that is no folder is refused before anything is downloaded."""
    with pytest.raises(FactoryError, match="role 'bas' is not in"):
        role_packages("bas", Checkout(tmp_path))


def test_the_sources_of_a_mirror_are_known_without_network() -> None:
    """What mmdebstrap would write for a mirror is asked of mmdebstrap itself."""
    assert default_sources("trixie", "https://apt.example/debian") == (
        "deb https://apt.example/debian trixie main\n"
    )


def test_dangling_links_are_removed(tmp_path: Path) -> None:
    """A link to what only a running system has is removed like a file."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").symlink_to("../run/nowhere")
    remove_from(tmp_path, ["etc/resolv.conf", "etc/absent"])
    assert list((tmp_path / "etc").iterdir()) == []


def test_emptied_folders_stay(tmp_path: Path) -> None:
    """Folders are emptied of files, folders and links, and stay themselves."""
    (tmp_path / "run/a/b").mkdir(parents=True)
    (tmp_path / "run/c").touch()
    (tmp_path / "run/d").symlink_to("/nowhere")
    empty_folders(tmp_path, ["run"])
    assert (list((tmp_path / "run").iterdir()), (tmp_path / "run").is_dir()) == ([], True)
