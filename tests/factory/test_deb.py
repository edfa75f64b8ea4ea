"""The Debian package: the same bytes each time, with what the interface page promises."""

import io
import lzma
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from skerry import __version__
from skerry_factory.deb import build_deb, read_suite, units
from skerry_factory.errors import FactoryError
from skerry_factory.paths import Checkout

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = ROOT / "runtime" / "debian"
SERVICES = ("keyd", "certd", "tpmd", "identityd", "edged")
MAX_EXPOSURE = 20
"""Tenths, as systemd-analyze counts: 2.0."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_deb("trixie", tmp_path_factory.mktemp("deb"))


def ar_members(package: Path) -> dict[str, bytes]:
    data = package.read_bytes()
    assert data.startswith(b"!<arch>\n")
    found, offset = {}, 8
    while offset < len(data):
        header = data[offset : offset + 60].decode("ascii")
        size = int(header[48:58])
        found[header[:16].strip()] = data[offset + 60 : offset + 60 + size]
        offset += 60 + size + size % 2
    return found


def members(package: Path, archive: str) -> dict[str, tarfile.TarInfo]:
    data = lzma.decompress(ar_members(package)[archive])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name.removeprefix("./"): member for member in tar.getmembers()}


def content(package: Path, archive: str, name: str) -> str:
    data = lzma.decompress(ar_members(package)[archive])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        file = tar.extractfile(f"./{name}")
        assert file is not None
        return file.read().decode()


def test_the_same_checkout_gives_the_same_bytes(package: Path, tmp_path: Path) -> None:
    """A second package has the same name and the same bytes."""
    again = build_deb("trixie", tmp_path)
    assert (again.name, again.read_bytes()) == (package.name, package.read_bytes())


def test_another_content_is_another_version(package: Path, tmp_path: Path) -> None:
    """A changed module gives another version, so that it is never taken for the former one."""
    shutil.copytree(ROOT / "runtime", tmp_path / "runtime")
    module = tmp_path / "runtime" / "skerry" / "base" / "clock.py"
    module.write_text(module.read_text() + "\n# changed\n")
    other = build_deb("trixie", tmp_path / "out", checkout=Checkout(tmp_path))
    assert other.name != package.name
    assert other.name.startswith(f"skerry_{__version__}+deb13.")


def test_nobody_but_root_owns_a_file(package: Path) -> None:
    """Every member belongs to root, whoever built the package, and has the one time stamp."""
    for archive in ("control.tar.xz", "data.tar.xz"):
        found = members(package, archive).values()
        assert {(entry.uid, entry.gid, entry.uname, entry.gname) for entry in found} == {
            (0, 0, "root", "root")
        }
        assert len({entry.mtime for entry in found}) == 1


def test_the_lab_and_the_factory_stay_out(package: Path) -> None:
    """The device gets the runtime, not the lab cloud nor the operator's tools."""
    names = members(package, "data.tar.xz")
    assert "usr/lib/python3/dist-packages/skerry/base/server.py" in names
    assert [name for name in names if "skerry_lab" in name or "skerry_factory" in name] == []
    assert [name for name in names if "__pycache__" in name] == []


def test_every_dependency_of_the_distribution_is_one_of_the_package(package: Path) -> None:
    """What pyproject.toml requires at run time is a Debian package that the package depends on."""
    depends = content(package, "control.tar.xz", "control")
    for library in ("h11", "docker", "cryptography", "yaml"):
        assert f"python3-{library}" in depends


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
def test_dpkg_reads_the_package(package: Path) -> None:
    """Debian's own tool finds the fields where it expects them."""
    done = subprocess.run(
        ["dpkg-deb", "--field", str(package), "Package", "Architecture"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "Package: skerry\nArchitecture: all\n"


def test_maintainer_scripts_know_every_unit(package: Path) -> None:
    """Each unit that can be enabled is in the list of the scripts that enable and remove."""
    enabled = {name for name, data in units(DEBIAN).items() if b"[Install]" in data}
    for script in ("postinst", "postrm"):
        line = content(package, "control.tar.xz", script).split('UNITS="')[1].split('"')[0]
        assert set(line.split()) == enabled


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_maintainer_scripts_parse(package: Path, script: str, tmp_path: Path) -> None:
    """The shell accepts each maintainer script."""
    file = tmp_path / script
    file.write_text(content(package, "control.tar.xz", script))
    subprocess.run(["sh", "-n", str(file)], check=True, timeout=30)


def test_an_unknown_suite_is_refused(tmp_path: Path) -> None:
    """A suite without a table is refused with the suites that there are, and nothing is written."""
    with pytest.raises(FactoryError) as caught:
        build_deb("sarge", tmp_path)
    assert str(caught.value) == "suite 'sarge' has no runtime package; expected one of trixie"
    assert list(tmp_path.iterdir()) == []


def test_suites_name_what_the_runtime_needs() -> None:
    """Each suite has a release and versioned dependencies."""
    suite = read_suite("trixie", DEBIAN / "suites.toml")
    assert suite.release == "deb13"
    assert all("(>= " in dependency for dependency in suite.depends)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("name", [name for name in units(DEBIAN) if name.endswith(".service")])
def test_services_are_sandboxed(name: str, tmp_path: Path) -> None:
    """systemd's own measure of exposure is at most 2.0, and nothing leaves a core dump."""
    unit = tmp_path / name
    assert b"\nLimitCORE=0\n" in units(DEBIAN)[name]
    unit.write_bytes(units(DEBIAN)[unit.name])
    done = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            f"--threshold={MAX_EXPOSURE}",
            "--no-pager",
            str(unit),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_hides_the_caller_from_a_service(service: str) -> None:
    """No unit sets what would map the callers' users to nobody."""
    assert "\nPrivateUsers" not in units(DEBIAN)[f"skerry-{service}.service"].decode()


def test_edged_sees_the_processes_that_call_it() -> None:
    """edged finds a caller's control group in /proc, so its view of it is whole."""
    assert "\nProtectProc" not in units(DEBIAN)["skerry-edged.service"].decode()


@pytest.mark.parametrize("name", [name for name in units(DEBIAN) if name.endswith(".socket")])
def test_sockets_come_after_the_seed(name: str) -> None:
    """Nothing is started by a call before the seed of this boot was applied."""
    assert "After=skerry-seed.service\n" in units(DEBIAN)[name].decode()
