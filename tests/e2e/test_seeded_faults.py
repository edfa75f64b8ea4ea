"""What happens to a booted appliance: faults, which `skerry check` names, and another package.

The appliance is the built image's tree with Moby inside (decision 0147).
"""

import io
import json
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.faults import FAULTS, Fault, material, named, planted
from harness.image import shared_image
from harness.site import CONFIG, PLANTED, Site, bad_of, running_site
from harness.tiers import Counts
from skerry.check.discover import all_checks
from skerry_factory.deb import build_deb

pytestmark = [pytest.mark.faults, pytest.mark.timeout(2700)]

RIGHTLY = 0.95
FIXABLE = (
    "engine stopped",
    "edged masked",
    "socket of keyd deleted",
    "time service stopped",
    "link to the settings of certd lost",
    "image not loaded",
    "packets are not forwarded",
)
STANDALONE = """
hostname = "pump-station-7"
[provisioning]
source = "standalone"
[edge_ca]
method = "self_signed"
[modules.sample-sensor]
image = "localhost/skerry/sample-sensor:0.1.0"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as running:
        for name, text in material(running.identity).items():
            running.write(f"/var/faults/{name}", text)
        yield running


def fault(name: str) -> Fault:
    (found,) = (one for one in FAULTS if one.name == name)
    return found


def test_a_healthy_appliance_has_no_finding(site: Site) -> None:
    """Every check is well or not for this device; container checks ran too; status 0."""
    report, _ = site.check()
    results = {name: entry["result"]["result"] for name, entry in report["checks"].items()}
    assert set(results) == {check.id for check in all_checks()}
    assert {name for name, result in results.items() if result not in {"ok", "ignored"}} == set()
    assert results["container-connect-upstream-mqtt"] == "ok"
    assert site.run("skerry", "check", "--warnings-as-errors").returncode == 0


def test_faults_are_named_rightly(site: Site, counts: Counts) -> None:
    """The check that the table names says what is wrong, for 95 of 100; each is undone."""
    number = counts.of("seeded faults", reduced=12, full=len(FAULTS))
    chosen = FAULTS if number == len(FAULTS) else [one for one in FAULTS if one.quick][:number]
    missed = []
    for one in chosen:
        with planted(site, one):
            report = named(site, one)
        if not one.is_named_in(report):
            missed.append((one.name, one.check, report["checks"][one.check]["cause"]))
    assert len(chosen) == number
    assert len(missed) <= (1 - RIGHTLY) * number, missed


def test_what_can_be_repaired_is_repaired(site: Site, counts: Counts) -> None:
    """`--fix` ends the finding, says what it did, and leaves a healthy appliance."""
    for name in FIXABLE[: counts.of("repaired faults", reduced=3, full=len(FIXABLE))]:
        one = fault(name)
        site.sh(one.plant)
        report = named(site, one)
        assert report["checks"][one.check]["fixable"], report["checks"][one.check]
        fixed, _ = site.check("--fix")
        assert fixed["checks"][one.check]["fixed"], name
        site.await_health()


def test_a_clock_that_is_off_is_named(site: Site) -> None:
    """As far as the time server says, and in which direction."""
    for seconds, said in ((60.0, "60 s behind"), (-3600.0, "3600 s ahead")):
        site.time_is_off(seconds)
        assert said in site.bad("host-local-time")["host-local-time"]
    site.time_is_off(0)
    assert site.bad("host-local-time") == {}


def test_a_support_bundle_of_a_booted_appliance(site: Site, tmp_path: Path) -> None:
    """Logs, containers, settings and checks are in it, whole; no key is."""
    # another test may have had the module made anew just now
    site.device.wait_for("sh", "-c", "skerry logs sample-sensor | grep -q reading", seconds=90)
    site.await_health()
    site.sh("skerry support-bundle -q -o /root/bundle.zip", seconds=120)
    data = Path(f"/proc/{site.device.leader}/root/root/bundle.zip").read_bytes()
    key = site.read("/var/secrets/device.key.pem").splitlines()[1].encode()
    with zipfile.ZipFile(io.BytesIO(data)) as bundle:
        assert bundle.testzip() is None
        names = set(bundle.namelist())
        manifest = json.loads(bundle.read("manifest.json"))
        check = json.loads(bundle.read("check.json"))
        for secret in (key, PLANTED.encode()):
            assert not any(secret in bundle.read(name) for name in names)
    wanted = {"logs/edgeAgent_log.txt", "logs/sample-sensor_log.txt", "logs/docker.txt"}
    wanted |= {"inspect/edgeAgent.json", "network/azure-iot-edge.json"}
    assert wanted <= names, names
    assert not {name for name in names if name.endswith("_err")}, manifest
    assert bad_of(check) == {}
    assert len(data) < 20 << 20


def packages(folder: Path) -> dict[str, Path]:
    """Return the package of this checkout, and the same under a later version."""
    present = build_deb(shared_image().read_manifest()["suite"], folder)
    tree, later = folder / "tree", folder / "later.deb"
    subprocess.run(["dpkg-deb", "-R", present, tree], check=True)
    control = (tree / "DEBIAN/control").read_text()
    (tree / "DEBIAN/control").write_text(re.sub(r"(?m)^(Version: .*)$", r"\1.later", control))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, later], check=True)
    return {"present.deb": present, "later.deb": later}


def test_a_secret_is_where_its_module_reads_it_and_nowhere_else(site: Site) -> None:
    """Sealed under real units: in the clear on a tmpfs, in no file of a disk, in no log."""
    # another test may have had the module made anew just now
    site.device.wait_for("sh", "-c", "skerry logs sample-sensor | grep -q reading", seconds=90)
    site.await_health()
    read = "docker exec sample-sensor python3 -c \"print(open('/run/secrets/site-key').read())\""
    assert site.sh(read).strip() == PLANTED
    assert site.sh("findmnt --noheadings --output FSTYPE --target /run/skerry-edged").split() == [
        "tmpfs"
    ]
    # the test itself has brought it, in config.toml as it was before it was applied
    looked = "/etc /var/lib/skerry /var/lib/docker/containers /var/log /run/log"
    assert site.sh(f"grep -rlF '{PLANTED}' {looked} || true") == ""
    told = site.sh("journalctl --no-pager; docker inspect sample-sensor; skerry secret list")
    assert PLANTED not in told
    assert "site-key  config.toml  keyd       sample-sensor" in told


def test_another_package_leaves_the_modules_running(site: Site, tmp_path: Path) -> None:
    """Upgrade, a power cut between its two halves, and the way back: services anew, modules not."""
    containers = "docker inspect --format '{{.Id}} {{.State.StartedAt}}' edgeAgent sample-sensor"
    edged = "systemctl show --property MainPID --value skerry-edged.service"
    version = "dpkg-query --show --showformat '${Version} ${Status}' skerry"
    for name, path in packages(tmp_path).items():
        copy = Path(f"/proc/{site.device.leader}/root/root/{name}")
        copy.write_bytes(path.read_bytes())
    site.device.wait_for("sh", "-c", "skerry logs sample-sensor | grep -q reading", seconds=90)
    site.await_health()
    given = f"printf %s '{PLANTED}, again' | skerry secret set site-key"
    before, first = site.sh(containers), site.sh(version)
    for command in (
        "dpkg --install /root/later.deb",
        "dpkg --unpack /root/present.deb; dpkg --configure --pending",
    ):
        process = site.sh(edged)
        site.sh(command, seconds=120)
        assert site.sh(edged) not in (process, "0\n"), command
        since = site.sh("date --utc +%Y-%m-%dT%H:%M:%SZ").strip()
        wanted = f"skerry logs --since {since} sample-sensor | grep -q reading"
        site.device.wait_for("sh", "-c", wanted, seconds=60)
        site.await_health()
        site.sh(given)
        seen = f"grep -qxF '{PLANTED}, again' /run/skerry-edged/secrets/sample-sensor/site-key"
        site.device.wait_for("sh", "-c", seen, seconds=30)
        site.sh("skerry secret remove site-key")
        assert site.sh(containers) == before, command
        assert (".later " in site.sh(version)) is ("later" in command)
    assert site.sh(version) == first


def test_an_appliance_without_cloud_and_network_has_no_finding(site: Site) -> None:
    """Offline, and nothing that is configured needs a network: that is no fault."""
    site.sh("ip link set uplink0 down")
    site.write("/etc/skerry/config.toml", STANDALONE, "0600")
    site.sh("skerry config apply", seconds=120)
    try:
        site.await_health()
        report, _ = site.check()
        assert report["checks"]["network"]["result"]["result"] == "ignored"
        assert report["checks"]["connect-management-uri"]["result"]["result"] == "ok"
    finally:
        site.sh("ip link set uplink0 up; networkctl reconfigure uplink0")
        site.write("/etc/skerry/config.toml", CONFIG, "0600")
        site.sh("skerry config apply", seconds=120)
