"""The main job on the real image: stamped, booted, identified, working; and after a restart."""

from pathlib import Path

import pytest

from skerry_factory.appliance import BootedAppliance
from skerry_factory.demo import READINGS, SENSOR, Patience, Workload

pytestmark = pytest.mark.vm

ROLES = Path(__file__).resolve().parents[1] / "roles"
PATIENCE = Patience(identity_seconds=600, workload_seconds=600)
# a module asks for a certificate of its own whenever it starts, so those are others after a restart
UNIQUE = (
    "cat /etc/machine-id; sudo sha256sum /data/ssh/ssh_host_*_key.pub;"
    " sudo find /var/lib/skerry/keyd /var/lib/skerry/certd -type f"
    " ! -name 'aziotedgedmodule*' -exec sha256sum {} + | sort"
)


def working(appliance: BootedAppliance) -> Workload:
    """Wait until the sample sensor runs and has logged readings."""

    def found() -> Workload | None:
        seen = appliance.workload(SENSOR)
        ready = seen is not None and seen.status == "running" and seen.readings >= READINGS
        return seen if ready else None

    return PATIENCE.wait_until(found, PATIENCE.workload_seconds, f"{SENSOR} does not work")


def test_the_workload_proves_itself_and_reads(appliance: BootedAppliance) -> None:
    """The configured module runs, has proved its identity and logs readings."""
    assert working(appliance).readings >= READINGS
    assert "identity proven" in appliance.output_of(f"sudo skerry logs {SENSOR}")


def test_the_device_is_who_its_seed_says(appliance: BootedAppliance) -> None:
    """Host name, device id and source are those of config.toml; there is an edge CA."""
    working(appliance)
    identity = appliance.identity()
    assert identity is not None
    assert (identity.source, identity.device_id) == ("standalone", "pump-station-7")
    assert identity.edge_ca_until is not None
    assert appliance.output_of("hostname").strip() == "pump-station-7"


def test_no_unit_has_failed(appliance: BootedAppliance) -> None:
    """Everything that systemd started has come up."""
    working(appliance)
    assert appliance.output_of("systemctl --failed --plain --no-legend") == ""


def test_the_tpm_is_seen(appliance: BootedAppliance) -> None:
    """The generic kernel drives the TPM 2.0 of the machine."""
    assert appliance.output_of("cat /sys/class/tpm/tpm0/tpm_version_major").strip() == "2"
    appliance.output_of("test -c /dev/tpmrm0")


def test_the_services_are_sandboxed(appliance: BootedAppliance) -> None:
    """On the appliance itself, drop-ins and all, systemd finds each exposed by 2.0 or less."""
    listed = appliance.output_of("dpkg -L skerry | grep '/skerry-.*\\.service$'").split()
    units = [path.rpartition("/")[2] for path in listed]
    assert {"skerry-keyd.service", "skerry-edged.service", "skerry-seed.service"} <= set(units)
    exposed = [
        appliance.output_of(f"systemd-analyze security --no-pager {unit} | tail -n1").split()
        for unit in units
    ]
    # → Overall exposure level for UNIT: 1.6 OK
    assert {words[5].rstrip(":"): words[6] for words in exposed if float(words[6]) > 2.0} == {}


def test_the_containers_are_not_root(appliance: BootedAppliance) -> None:
    """Agent and module run under users without rights, and only edged reaches Moby."""
    working(appliance)
    names = appliance.output_of("sudo docker ps --format '{{.Names}}'").split()
    assert set(names) == {"edgeAgent", SENSOR}
    for name in names:
        pid = appliance.output_of(f"sudo docker inspect -f '{{{{.State.Pid}}}}' {name}").strip()
        assert appliance.output_of(f"sudo stat -c %u /proc/{pid}").strip() != "0", name


def test_the_data_partition_has_grown(appliance: BootedAppliance) -> None:
    """What outlives the system lies on a partition that fills the disk."""
    size = int(appliance.output_of("df --output=size -B1 /data | tail -n1"))
    assert size > 4 << 30
    for folder in ("/var/lib/skerry", "/var/lib/docker", "/etc/skerry"):
        source = appliance.output_of(f"findmnt -n -o SOURCE --target {folder}").strip()
        assert (
            source.partition("[")[0]
            == appliance.output_of("findmnt -n -o SOURCE /data").strip().partition("[")[0]
        )


def test_the_appliance_is_valid(appliance: BootedAppliance) -> None:
    """Every check of the roles holds on the image as it is shipped, each role with some of them."""
    working(appliance)
    validation = appliance.validate(lambda area: None)
    assert [check for check in validation.checks if check.result == "failed"] == []
    passed = {check.area for check in validation.checks if check.result == "passed"}
    assert passed == {module.parent.name for module in ROLES.glob("*/test_verify.py")}


def test_a_restart_keeps_identity_and_workload(appliance: BootedAppliance) -> None:
    """After a reboot keys, certificates and names are the same, and the module works again."""
    working(appliance)
    before = appliance.output_of(UNIQUE)
    boot_id = "cat /proc/sys/kernel/random/boot_id"
    first = appliance.output_of(boot_id)
    appliance.restart()
    assert appliance.output_of(boot_id) != first
    working(appliance)
    assert appliance.output_of(UNIQUE) == before
    assert appliance.output_of("systemctl --failed --plain --no-legend") == ""
