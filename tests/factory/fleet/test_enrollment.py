"""Enrolment files: the lab cloud takes them as they are, and knows the devices by them."""

import base64
import json
from pathlib import Path

import pytest

from factory.fleet.conftest import DPS, KEYS, STANDALONE, TPM, X509, Site
from skerry_factory.fleet.keys import write_keys
from skerry_lab.cli import main as skerry_lab
from skerry_lab.dps.model import Attestation, Enrollment
from skerry_lab.store import Store

GROUP_KEY = base64.b64encode(b"g" * 32).decode()
GROUP = DPS + 'attestation = { method = "symmetric_key", group = "g", group_key = "group.key" }'
X509_GROUP = X509.replace('"x509"', '"x509", group = "g"')
ENDORSEMENT_KEY = (
    "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEA"
    + base64.b64encode(bytes(range(1, 256)) + b"\x01").decode()
)


def imported(site: Site, tmp_path: Path) -> dict[str, Enrollment]:
    """Bring the file into a new lab and return what it is told."""
    data = tmp_path / "lab"
    file = site.out / "enrollments-lab.json"
    assert skerry_lab(["import", "-f", str(file), "--data", str(data)]) == 0
    store = Store(data)
    try:
        return store.do(lambda cloud: {e.enrollment_id: e for e in cloud.dps.enrollments()})
    finally:
        store.close()


@pytest.mark.parametrize("identity", [KEYS, X509], ids=["keys", "certificates"])
def test_the_lab_enrols_every_device(site: Site, tmp_path: Path, identity: str) -> None:
    """Each device is enrolled as an edge device under its id."""
    site.write(identity)
    site.stamp()
    found = imported(site, tmp_path)
    assert sorted(found) == ["press-01", "press-02", "press-03"]
    assert all(one.edge and one.device_id == name for name, one in found.items())


@pytest.mark.parametrize("identity", [GROUP, X509_GROUP], ids=["key", "authority"])
def test_a_group_is_one_enrolment(site: Site, tmp_path: Path, identity: str) -> None:
    """A fleet with a group is enrolled by that alone."""
    (site.folder / "group.key").write_text(GROUP_KEY + "\n")
    site.write(identity)
    site.stamp()
    (group,) = imported(site, tmp_path).values()
    assert (group.enrollment_id, group.group) == ("g", True)


def test_devices_without_endorsement_key_are_pending(site: Site, tmp_path: Path) -> None:
    """A TPM that is known is enrolled, the others are listed with the reason."""
    site.write(TPM)
    write_keys(site.folder / "endorsement-keys.csv", {"press-02": ENDORSEMENT_KEY})
    assert site.stamp().pending == ("press-01", "press-03")
    told = json.loads((site.out / "enrollments-dps.json").read_text())
    assert [one["registrationId"] for one in told["enrollments"]] == ["press-02"]
    assert told["pending"][0] == {
        "registrationId": "press-01",
        "deviceId": "press-01",
        "reason": "no endorsement key; gather it with `skerry-factory collect`",
    }
    (one,) = imported(site, tmp_path).values()
    assert (one.attestation, one.endorsement_key) == (Attestation.TPM, ENDORSEMENT_KEY)


def test_labels_become_tags(site: Site) -> None:
    """What a device is labelled with is in its initial twin."""
    site.write(KEYS, '[[devices.table]]\nid = "a"\nlabels = { hall = "3" }')
    site.stamp()
    (one,) = json.loads((site.out / "enrollments-dps.json").read_text())["enrollments"]
    assert one["initialTwin"]["tags"] == {"hall": "3"}


def test_keys_are_for_the_operator_alone(site: Site) -> None:
    """Files with keys in them are readable by their owner only."""
    site.write(KEYS)
    site.stamp()
    for name in ("identities.jsonl", "enrollments-dps.json", "enrollments-lab.json"):
        assert (site.out / name).stat().st_mode & 0o777 == 0o600
    assert "a2tra2tr" not in (site.out / "ledger.jsonl").read_text()


def test_without_a_cloud_there_is_nothing_to_enrol(site: Site) -> None:
    """A fleet that is standalone has no enrolment files, also when it had a cloud before."""
    site.write(KEYS)
    site.stamp()
    site.write(STANDALONE)
    site.stamp()
    assert not list(site.out.glob("enrollments-*"))
