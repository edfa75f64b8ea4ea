"""`provision.yml` over SSH on a plain Debian 13 device: the same appliance as the image."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.checks import Checked, run_checks
from harness.nspawn import ALIAS, USER, Device, running_device
from harness.playbook import Run, play
from skerry_factory.command_line import default_cache
from skerry_factory.containers import build_containers, write_preload_lock

pytestmark = [pytest.mark.root, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "examples" / "config.toml"
IMAGES = ("agent", "diagnostics", "hub", "sample-sensor")
DELETED = "/etc/systemd/journald.conf.d/10-skerry.conf"
CONFIGURED = "identity : Apply the configuration"


@dataclass(frozen=True)
class Provisioned:
    """One device from plain to appliance; each test looks at one step."""

    device: Device
    checked_first: Run
    untouched: bool
    converged: Run
    again: Run
    verified: Checked
    repaired: Run
    changed_check: Run
    refused: Run
    after_refusal: str


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    built = build_containers(IMAGES, folder, default_cache(), progress=lambda _: None)
    write_preload_lock(built, folder / "preload.json")
    return folder


@pytest.fixture(scope="module")
def provisioned(
    tmp_path_factory: pytest.TempPathFactory, runtime_package: Path, images: Path
) -> Iterator[Provisioned]:
    work = tmp_path_factory.mktemp("device")
    with running_device(work) as device:
        key = device.private_key.with_suffix(".pub").read_text().strip()
        variables: dict[str, object] = {
            "runtime_package": str(runtime_package),
            "preload_folder": str(images),
            "base_users": [{"name": USER, "groups": ["sudo"], "ssh_authorized_keys": [key]}],
        }

        def run(config: Path = CONFIG, check: bool = False) -> Run:
            return play(
                "provision.yml",
                inventory(device),
                {**variables, "identity_config_file": str(config)},
                work,
                check=check,
                wrap=device.command([]),
            )

        checked_first = run(check=True)
        untouched = device.run("test", "-e", "/usr/bin/skerry").returncode == 1
        converged = run().succeeded()
        again = run()
        await_readings(device)
        verified = verify(device, work)
        device.run("rm", DELETED)
        repaired = run()
        changed_check = run(config_with(work, ("INTERVAL_SECONDS", "POLL_SECONDS")), check=True)
        refused = run(config_with(work, ("[provisioning]", "[provisoning]")))
        after_refusal = device.run("readlink", "/etc/skerry/current").stdout.strip()
        yield Provisioned(
            device,
            checked_first,
            untouched,
            converged,
            again,
            verified,
            repaired,
            changed_check,
            refused,
            after_refusal,
        )


def inventory(device: Device) -> dict[str, object]:
    arguments = f"-F {device.ssh_config}"
    host = {"ansible_host": ALIAS, "ansible_user": USER, "ansible_ssh_common_args": arguments}
    return {"edge_devices": {"hosts": {"device": host}}}


def config_with(work: Path, change: tuple[str, str]) -> Path:
    """Return a copy of the configuration with one change."""
    text = CONFIG.read_text("utf-8")
    assert change[0] in text
    path = work / "changed.toml"
    path.write_text(text.replace(*change), "utf-8")
    return path


def await_readings(device: Device) -> None:
    """Wait until the workload has proved its identity and works."""
    logs = "skerry logs sample-sensor | grep -q '\"reading\"'"
    device.wait_for("sh", "-c", logs, seconds=120)


def verify(device: Device, work: Path) -> Checked:
    where = [f"--hosts=ssh://{ALIAS}", f"--ssh-config={device.ssh_config}", "--sudo"]
    return run_checks(where, work / "report.xml", device.command([]))


def test_check_mode_passes_on_a_plain_device(provisioned: Provisioned) -> None:
    """Check mode before the first run fails nowhere and changes nothing."""
    assert provisioned.checked_first.failures == []
    assert provisioned.untouched


def test_check_mode_tells_of_the_configuration_before_the_runtime_is_there(
    provisioned: Provisioned,
) -> None:
    """On a plain device the configuration would change too."""
    assert CONFIGURED in provisioned.checked_first.changed


def test_the_second_run_changes_nothing(provisioned: Provisioned) -> None:
    """A run over its own result changes nothing and restarts nothing."""
    assert (provisioned.again.failures, provisioned.again.changed) == ([], [])


def test_the_device_passes_the_appliance_checks(provisioned: Provisioned) -> None:
    """The suite of the image passes here too, workloads included."""
    assert provisioned.verified.failed == {}
    skipped = {name.partition("[")[0] for name in provisioned.verified.skipped}
    assert skipped <= {
        "tpm: test_a_tpm_that_the_firmware_names_is_usable",
        "gateway: test_the_hub_proves_its_name",
    }


def test_a_deleted_file_is_repaired_and_nothing_else(provisioned: Provisioned) -> None:
    """Only the task that owns a missing file changes something, and its service learns of it."""
    tasks = [name for name in provisioned.repaired.changed if not name.startswith("base : Re")]
    assert tasks == ["base : Write the files of the operating system"]


def test_check_mode_tells_the_truth_about_the_configuration(provisioned: Provisioned) -> None:
    """Check mode with another configuration says that just that would change."""
    assert provisioned.changed_check.changed == [CONFIGURED]


def test_a_wrong_configuration_is_refused_with_its_problem(provisioned: Provisioned) -> None:
    """The play fails with what the runtime says, and the former configuration stays in force."""
    [failure] = provisioned.refused.failures
    assert "did you mean 'provisioning'?" in failure or "'provisioning'" in failure
    assert provisioned.after_refusal == "generations/1"


def test_modules_outlive_the_refusal(provisioned: Provisioned) -> None:
    """After a refused configuration the workload still runs."""
    await_readings(provisioned.device)
