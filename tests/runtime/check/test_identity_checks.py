"""Checks of keys, certificates and the way to the cloud, with keyd and certd; both verdicts."""

import json
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from harness.appliances import AwayError
from harness.checked import CONFIG, Checked, checked
from harness.lab import START, signed
from skerry.check.model import Result

Plant = Callable[[Checked], object]
DPS = CONFIG.replace('source = "manual"', 'source = "dps"').replace(
    'iothub_hostname = "hub.test"\ndevice_id = "house"\n[provisioning.authentication]',
    'global_endpoint = "https://dps.test"\nid_scope = "0ne"\n[provisioning.attestation]\n'
    'registration_id = "house"',
)
EST = CONFIG + '[cert_issuance.est.urls]\ndefault = "https://est.test/est"\n'
STANDALONE = 'hostname = "house"\n[provisioning]\nsource = "standalone"\n'


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Checked]:
    """A device with keyd and certd."""
    with checked(tmp_path) as made:
        made.serve("keyd", "certd")
        yield made


def lasting(house: Checked, begins: int, ends: int) -> None:
    """Have the device's certificate hold from and until so many days from now."""
    start = START + timedelta(days=begins)
    made = signed("house", start=start, days=ends - begins, key=house.identity.key)
    house.put("device.pem", made.chain_pem)


def applied(house: Checked, text: str) -> None:
    house.configure(text)
    house.serve("keyd", "certd")


def away(house: Checked, said: str) -> None:
    house.machine.network.trouble = AwayError(said)


def silent(house: Checked, name: str) -> None:
    house.services.end_hosted(name)


WELL = (
    "identity-certificate-expiry",
    "local-ca-certificate-expiry",
    "certificate-horizon",
    "certs-read",
    "certs-preloaded",
    "key-pairs-read",
    "certs-match-private-keys",
    "keyd-running",
    "certd-running",
    "network",
    "host-connect-iothub-mqtt",
    "host-connect-iothub-https",
)
ELSEWHERE = (
    "est-identity-and-bootstrap-certificate-expiry",
    "est-server-https",
    "host-connect-iothub-amqp",
    "host-connect-dps-endpoint",
    "tpmd-running",
    "tpm-state",
    "container-connect-upstream-amqp",
)
"""What this device does not have."""

OTHER = signed("other")
FAULTS: list[tuple[str, Plant, Result, str]] = [
    ("identity-certificate-expiry", lambda h: lasting(h, -30, -2), Result.ERROR, "2 days ago"),
    ("identity-certificate-expiry", lambda h: lasting(h, -30, 3), Result.WARNING, "in 3 days"),
    ("identity-certificate-expiry", lambda h: lasting(h, 2, 9), Result.ERROR, "in the future"),
    (
        "local-ca-certificate-expiry",
        lambda h: h.put(
            "ca.pem", signed("ca", authority=True, start=START - timedelta(days=40)).chain_pem
        ),
        Result.ERROR,
        "expired 10 days ago",
    ),
    ("certificate-horizon", lambda h: lasting(h, -30, 3), Result.WARNING, "expires in 3 days"),
    (
        "certs-read",
        lambda h: (h.files / "device.pem").unlink(),
        Result.ERROR,
        "'device-id' (device identity) cannot be read",
    ),
    ("certs-read", lambda h: h.put("ca.pem", "nothing"), Result.ERROR, "'local-ca' (local CA)"),
    ("certs-read", lambda h: (h.files / "hub-ca.pem").unlink(), Result.ERROR, "trust-bundle-user"),
    ("certs-read", lambda h: silent(h, "certd"), Result.ERROR, "certd does not answer"),
    (
        "key-pairs-read",
        lambda h: (h.files / "device.key").unlink(),
        Result.ERROR,
        "no file",
    ),
    (
        "key-pairs-read",
        lambda h: h.put("device.key", "nothing"),
        Result.ERROR,
        "keyd cannot read it",
    ),
    ("key-pairs-read", lambda h: silent(h, "keyd"), Result.ERROR, "keyd does not answer"),
    (
        "certs-match-private-keys",
        lambda h: h.put("device.key", OTHER.key_pem),
        Result.ERROR,
        "for another key",
    ),
    (
        "certs-preloaded",
        lambda h: h.machine.write(
            "etc/skerry/edged/config.d/50-more.toml", '[edge_ca]\ncert = "nowhere"\n'
        ),
        Result.ERROR,
        "neither preloaded nor can they be issued",
    ),
    ("keyd-running", lambda h: silent(h, "keyd"), Result.ERROR, "keyd has no socket"),
    ("certd-running", lambda h: silent(h, "certd"), Result.ERROR, "certd has no socket"),
    ("identityd-running", lambda h: None, Result.ERROR, "identityd has no socket"),
    ("network", lambda h: h.machine.write("proc/net/route", ""), Result.ERROR, "offline"),
    (
        "network",
        lambda h: h.machine.write("etc/resolv.conf", ""),
        Result.WARNING,
        "there is no name server",
    ),
    ("est-server-https", lambda h: est_away(h), Result.ERROR, "est.test:443 cannot be reached"),
    (
        "host-connect-iothub-mqtt",
        lambda h: away(h, "refused"),
        Result.ERROR,
        "hub.test:8883 cannot be reached: refused",
    ),
    (
        "host-connect-iothub-https",
        lambda h: away(h, "not trusted"),
        Result.ERROR,
        "hub.test:443 cannot be reached",
    ),
    ("host-connect-iothub-mqtt", lambda h: applied(h, DPS), Result.WARNING, "not named a hub"),
    ("host-connect-dps-endpoint", lambda h: dps_away(h), Result.ERROR, "dps.test:443"),
]


def est_away(house: Checked) -> None:
    applied(house, EST)
    away(house, "refused")


def dps_away(house: Checked) -> None:
    applied(house, DPS)
    away(house, "refused")


@pytest.mark.parametrize(
    ("check_id", "plant", "result", "said"), FAULTS, ids=[f"{one[0]}: {one[3]}" for one in FAULTS]
)
def test_what_is_wrong_is_named(
    house: Checked, check_id: str, plant: Plant, result: Result, said: str
) -> None:
    """With its cause and what helps."""
    plant(house)
    found = house.machine.find(check_id)
    assert (found.result, said in found.cause) == (result, True), found
    assert found.remedy


def test_a_file_that_cannot_be_read_is_shown(house: Checked) -> None:
    """With its rights, or that it is not there."""
    house.put("device.key", "nothing")
    assert "7 bytes" in house.machine.find("key-pairs-read").evidence[-1]
    (house.files / "device.pem").unlink()
    (line,) = house.machine.find("certs-read").evidence
    assert line == f"{house.files / 'device.pem'}: No such file or directory"


def test_a_device_in_order_is_well(house: Checked) -> None:
    """No cause, nothing to do; what it does not have is neither well nor bad."""
    for check_id in WELL:
        found = house.machine.find(check_id)
        assert (found.result, found.cause, found.remedy) == (Result.OK, "", ""), found
    for check_id in ELSEWHERE:
        assert house.machine.find(check_id).result is Result.IGNORED, check_id


@pytest.mark.parametrize(
    ("check_id", "prepare"),
    [
        ("est-server-https", lambda h: applied(h, EST)),
        ("host-connect-dps-endpoint", lambda h: applied(h, DPS)),
    ],
)
def test_what_is_well_is_well(house: Checked, check_id: str, prepare: Plant) -> None:
    """No cause, nothing to do."""
    prepare(house)
    found = house.machine.find(check_id)
    assert (found.result, found.cause, found.remedy) == (Result.OK, "", ""), found


@pytest.mark.parametrize(
    ("check_id", "prepare"),
    [
        ("host-connect-iothub-mqtt", lambda h: applied(h, STANDALONE)),
        ("identity-certificate-expiry", lambda h: applied(h, STANDALONE)),
    ],
)
def test_what_this_device_does_not_have_is_not_judged(
    house: Checked, check_id: str, prepare: Plant
) -> None:
    """Neither well nor bad."""
    prepare(house)
    found = house.machine.find(check_id)
    assert found.result is Result.IGNORED, found


def test_a_renewal_that_fails_is_an_error_before_the_end(house: Checked) -> None:
    """The certificate still holds for a day."""
    renewed = 'auto_renew = { rotate_key = true, threshold = "80%", retry = "4%" }'
    applied(house, f"{CONFIG}{renewed}\n")
    made = signed("edge CA", authority=True, start=START - timedelta(days=29))
    house.machine.appliance().certs().put("aziot-edged-ca", made.chain_pem.encode())
    record = {"failed": {"renew aziot-edged-ca": "2026-11-22T00:00:00Z"}}
    house.machine.write("var/lib/skerry/edged/deadline.json", json.dumps(record))
    found = house.machine.find("certificate-horizon")
    assert (found.result, "its renewal fails" in found.cause) == (Result.ERROR, True), found
    assert found.evidence == ("renew aziot-edged-ca last failed 2026-11-22T00:00:00Z",)


@pytest.mark.parametrize("there", [False, True])
def test_a_tpm_that_is_needed_has_to_be_there(house: Checked, there: bool) -> None:
    """In the kernel, and behind tpmd."""
    text = DPS.replace('method = "x509"', 'method = "tpm"')
    lines = [line for line in text.splitlines() if "identity_" not in line]
    applied(house, "\n".join(lines))
    if there:
        house.machine.write("dev/tpmrm0", "")
    found = house.machine.find("tpm-state")
    assert found.result is Result.ERROR
    assert ("tpmd does not answer" if there else "/dev/tpmrm0 is missing") in found.cause


def test_a_socket_that_nobody_listens_on_can_be_started(house: Checked) -> None:
    """The fix starts the service's socket anew."""
    path = house.services.socket("identityd")
    with socket.socket(socket.AF_UNIX) as link:
        link.bind(str(path))
    found = house.machine.find("identityd-running")
    assert (found.result, "does not answer" in found.cause) == (Result.ERROR, True)
    assert found.fix is not None
    found.fix.run()
    assert house.machine.units.told[-1] == "systemctl restart skerry-identityd.socket"
