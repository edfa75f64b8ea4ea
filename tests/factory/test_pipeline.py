"""Plans of a build: what the playbook gets is what images/README.md promises; nothing twice."""

import json
import os
import re
from pathlib import Path

import pytest

from skerry_factory.bootstrap import plan_bootstrap
from skerry_factory.build import build_image, digest_of_inputs
from skerry_factory.cache import key_of
from skerry_factory.definition import Definition, find_definition
from skerry_factory.paths import Checkout
from skerry_factory.pipeline import Job, bootstrap_inputs, plan_roles, sealed_sources
from skerry_factory.progress import Progress

CHECKOUT = Checkout.of_package()


@pytest.fixture
def definition() -> Definition:
    return find_definition("debian-13-amd64", CHECKOUT)


def test_a_job_survives_the_way_into_the_namespace() -> None:
    """A job is the same after JSON."""
    job = Job(Path("/d"), Path("/o"), Path("/c"), Path("/r"), None, False, "digest")
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_the_playbook_gets_what_is_promised(definition: Definition) -> None:
    """Every variable of the table in images/README.md is passed, and no other of the build's."""
    page = (CHECKOUT.root / "images/README.md").read_text()
    table = page.partition("## What the build passes")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    promised = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    run = plan_roles(definition, "package digest", "preload digest", "deb x", None)
    passed = {*run.variables, "image_roles"} - set(definition.role_vars)
    assert passed == promised


def test_files_behind_variables_are_inputs(definition: Definition) -> None:
    """A changed package or container runs the roles that install it again."""
    run = plan_roles(definition, "package digest", "preload digest", "deb x", None)
    assert run.inputs == {"runtime_package": "package digest", "preload_folder": "preload digest"}


def test_a_mirror_of_one_build_is_not_sealed_in(definition: Definition, tmp_path: Path) -> None:
    """The image ships the sources that a build without the option would have."""
    (tmp_path / "etc/apt").mkdir(parents=True)
    (tmp_path / "etc/apt/sources.list").write_text("deb as bootstrapped\n")
    plan = plan_bootstrap(definition, CHECKOUT, None)
    assert sealed_sources(plan, definition, tmp_path, None) == "deb as bootstrapped\n"
    assert "site.example" not in sealed_sources(plan, definition, tmp_path, "http://site.example/")


def test_the_mirror_is_part_of_the_first_layer(definition: Definition) -> None:
    """Packages from elsewhere are another layer; the same plan is the same."""
    plan = plan_bootstrap(definition, CHECKOUT, None)
    other = plan_bootstrap(definition, CHECKOUT, "http://site.example/")
    assert bootstrap_inputs(plan).key == bootstrap_inputs(plan).key
    assert bootstrap_inputs(plan).key != bootstrap_inputs(other).key


def prepare(definition: Definition, out: Path) -> None:
    """Write what a finished build leaves."""
    out.mkdir()
    disk = out / f"{definition.id}.raw"
    disk.write_bytes(b"disk")
    output = {"file": disk.name, "format": "raw", "size_bytes": 4, "sha256": "0"}
    inputs = {"all": key_of(digest_of_inputs(definition, CHECKOUT), None)}
    (out / "manifest.json").write_text(json.dumps({"outputs": [output], "inputs": inputs}))


def test_an_image_that_is_there_is_not_built_again(definition: Definition, tmp_path: Path) -> None:
    """With the same inputs and whole outputs there is nothing to do."""
    prepare(definition, tmp_path / "out")
    result = build_image(definition, tmp_path / "out", tmp_path / "cache", Progress.silent())
    assert not result.changed
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("harm", ["removed", "cut", "touched", "no manifest", "broken manifest"])
def test_an_image_that_was_harmed_is_built_again(
    definition: Definition, tmp_path: Path, harm: str
) -> None:
    """Missing, cut or changed files are noticed; here the build then fails for want of a cache."""
    out = tmp_path / "out"
    prepare(definition, out)
    disk = out / f"{definition.id}.raw"
    match harm:
        case "removed":
            disk.unlink()
        case "cut":
            disk.write_bytes(b"d")
        case "touched":
            os.utime(disk, ns=(0, (out / "manifest.json").stat().st_mtime_ns + 1))
        case "no manifest":
            (out / "manifest.json").unlink()
        case "broken manifest":
            (out / "manifest.json").write_text("{")
    (tmp_path / "cache").touch()
    with pytest.raises(Exception, match=r"Not a directory|File exists"):
        build_image(definition, out, tmp_path / "cache", Progress.silent())
