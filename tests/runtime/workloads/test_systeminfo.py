"""What the management API tells about the machine."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.docker_engine import DockerEngine, serving
from skerry.engine.client import MobyEngine
from skerry.workloads.systeminfo import Disk, Machine, disks, resources, server_version, system_info

IMAGE = "sha256:" + "a" * 64
OS_RELEASE = 'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n'
MOUNTS = """\
/dev/vda2 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
tmpfs /run tmpfs rw 0 0
/dev/vda4 /data ext4 rw 0 0
/dev/vda4 /var/lib/docker ext4 rw 0 0
/dev/vda1 /gone\\040away vfat rw 0 0
"""


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[DockerEngine]:
    with serving(DockerEngine(images={"x:1": IMAGE}), tmp_path / "docker.sock") as engine:
        yield engine


@pytest.fixture
def engine(fake: DockerEngine, tmp_path: Path) -> MobyEngine:
    return MobyEngine(f"unix://{tmp_path / 'docker.sock'}")


def machine(root: Path, files: dict[str, str]) -> Machine:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Machine(root)


def test_systeminfo_names_system_engine_and_machine(engine: MobyEngine, tmp_path: Path) -> None:
    """Upstream's field names; what config.toml adds is added."""
    found = machine(
        tmp_path,
        {
            "etc/os-release": OS_RELEASE,
            "sys/class/dmi/id/sys_vendor": "QEMU\n",
            "sys/class/dmi/id/product_name": "Standard PC\n",
        },
    )
    info = system_info(server_version(engine), {"plant": "north"}, found)
    assert (info["operating_system"], info["operating_system_version"]) == ("debian", "13")
    assert (info["virtualized"], info["product_name"]) == ("yes", "Standard PC")
    assert (info["server_version"], info["plant"]) == ("20.10.24", "north")


# the package leaves a socket to the garbage collector when it cannot connect
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_systeminfo_does_without_an_engine(tmp_path: Path) -> None:
    """The machine is described although the engine does not answer."""
    info = system_info(
        server_version(MobyEngine(f"unix://{tmp_path / 'none'}")), {}, Machine(tmp_path)
    )
    gc.collect()
    assert (info["server_version"], info["virtualized"]) == ("", "unknown")


def test_resources_carry_the_engine_s_figures_as_text(
    engine: MobyEngine, fake: DockerEngine, tmp_path: Path
) -> None:
    """docker_stats is a JSON text; a container that is gone is left out."""
    engine.create("pump", {"Image": "x:1"})
    found = machine(tmp_path, {"proc/stat": "cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1\n"})
    used = resources(engine, ["pump", "gone"], found)
    assert json.loads(str(used["docker_stats"])) == [
        {"name": "/pump", "memory_stats": {"usage": 4096}}
    ]
    assert used["used_cpu"] == 20.0
    assert isinstance(used["used_ram"], int)
    assert 0 < used["used_ram"] < int(str(used["total_ram"]))


def test_behind_a_sandbox_the_control_groups_tell(engine: MobyEngine, tmp_path: Path) -> None:
    """edged sees no /proc/stat; copies of files in memory are not in use."""
    plain = resources(engine, [], Machine(tmp_path))
    found = machine(
        tmp_path,
        {
            "sys/fs/cgroup/cpu.stat": "usage_usec 99000000000000\nuser_usec 1\n",
            "sys/fs/cgroup/memory.stat": "anon 5\nactive_file 99000000000000\n",
        },
    )
    used = resources(engine, [], found)
    assert (plain["used_cpu"], used["used_cpu"]) == (0.0, 100.0)
    assert used["used_ram"] == 0


def test_a_hidden_processor_use_is_zero(engine: MobyEngine, tmp_path: Path) -> None:
    """Without /proc/stat the answer still comes."""
    assert resources(engine, [], Machine(tmp_path))["used_cpu"] == 0.0


def test_a_disk_counts_once_and_only_while_mounted() -> None:
    """Bind mounts of one partition are one disk; what is no disk is no disk."""
    found = disks(MOUNTS, lambda mount_point: mount_point != "/gone away")
    assert found == [Disk("/dev/vda2", "/", "ext4"), Disk("/dev/vda4", "/data", "ext4")]
