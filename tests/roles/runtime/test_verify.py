"""The native runtime: users, units, sockets, sandboxes, answers."""

import re

import pytest
from testinfra.host import Host

from harness.look import Seen, look

pytestmark = pytest.mark.appliance

USERS = {
    "skerry-keys": (13611, set()),
    "skerry-certs": (13612, {"skerry-keys"}),
    "skerry-tpm": (13613, {"tss"}),
    "skerry-identity": (13614, {"skerry-keys", "skerry-certs", "skerry-tpm"}),
    "skerry-edge": (
        13615,
        {"docker", "skerry-keys", "skerry-certs", "skerry-identity", "skerry-tpm"},
    ),
    "skerry-agent": (13622, set()),
    "skerry-hub": (13623, set()),
}
SOCKETS = {
    "keyd": ("root", "skerry-keys", 0o660),
    "certd": ("root", "skerry-certs", 0o660),
    "tpmd": ("root", "skerry-tpm", 0o660),
    "identityd": ("root", "skerry-identity", 0o660),
    "mgmt": ("skerry-agent", "skerry-edge", 0o660),
    "workload": ("root", "root", 0o666),
}
STATE = {
    "keyd": ("skerry-keys", 0o700),
    "certd": ("skerry-certs", 0o700),
    "tpmd": ("skerry-tpm", 0o700),
    "identityd": ("skerry-identity", 0o700),
    "edged": ("skerry-edge", 0o755),
}
ENABLED = (
    "sockets.target.wants/skerry-keyd.socket",
    "sockets.target.wants/skerry-certd.socket",
    "sockets.target.wants/skerry-tpmd.socket",
    "sockets.target.wants/skerry-identityd.socket",
    "sockets.target.wants/skerry-edged-mgmt.socket",
    "sockets.target.wants/skerry-edged-workload.socket",
    "multi-user.target.wants/skerry-edged.service",
    "multi-user.target.wants/skerry-report.service",
    "multi-user.target.wants/skerry-seed.service",
)
VERSIONS = {
    "keyd": "2021-05-01",
    "certd": "2020-09-01",
    "tpmd": "2020-09-01",
    "identityd": "2022-08-01",
}
ASK = (
    "from pathlib import Path; from skerry.base.client import ServiceClient; "
    "[print(n, ServiceClient(Path(f'/run/skerry/{n}.sock'), v).get('/config')['digest'])"
    f" for n, v in {VERSIONS}.items()]"
)
CALL = f'python3 -I -c "{ASK}"'
IDS = f"for name in {' '.join(USERS)}; do id $name; done"
VERIFY = "dpkg --verify skerry"
VERSION = "skerry --version"
COMPILED = (
    "head -c 8 /usr/lib/python3/dist-packages/skerry/base/__pycache__/clock.*.pyc | od -An -tx1"
)
EXPOSURE = "systemd-analyze security --no-pager --threshold=20 " + " ".join(
    f"skerry-{service}.service" for service in (*STATE, "seed")
)


@pytest.fixture(scope="module")
def seen(host: Host) -> Seen:
    paths = [f"/etc/systemd/system/{link}" for link in ENABLED]
    paths += [f"/var/lib/skerry/{service}" for service in STATE]
    paths += [drop_in(service) for service in STATE]
    paths += [f"/run/skerry/{name}.sock" for name in SOCKETS]
    return look(host, paths, [IDS, VERIFY, VERSION, COMPILED, CALL, EXPOSURE])


def drop_in(service: str) -> str:
    return f"/etc/skerry/{service}/config.d/00-super.toml"


def id_of(line: str) -> tuple[str, int, int, set[str]]:
    """Parse `uid=1(a) gid=1(a) groups=1(a),2(b)`."""
    numbers, names = re.findall(r"=?(\d+)\(", line), re.findall(r"\(([^)]+)\)", line)
    return names[0], int(numbers[0]), int(numbers[1]), set(names[2:])


@pytest.mark.parametrize("name", USERS)
def test_users_have_fixed_numbers(seen: Seen, name: str) -> None:
    """Each user has the number and the groups of the interface page."""
    number, groups = USERS[name]
    found = {entry[0]: entry for entry in map(id_of, seen.said[IDS].ok().splitlines())}
    assert found[name] == (name, number, number, {name, *groups})


@pytest.mark.parametrize("link", ENABLED)
def test_units_start_at_boot(seen: Seen, link: str) -> None:
    """Sockets, edged and the seed service are enabled."""
    assert seen.file(f"/etc/systemd/system/{link}").link is not None


def test_the_package_is_as_it_was_built(seen: Seen) -> None:
    """No file of the package was changed, and the command runs."""
    assert seen.said[VERIFY].ok() == ""
    assert seen.said[VERSION].ok().startswith("skerry ")


def test_modules_are_compiled_without_time_stamps(seen: Seen) -> None:
    """Every module has its compiled form, bound to no time and checked by nobody."""
    assert seen.said[COMPILED].ok().split()[4:] == ["01", "00", "00", "00"]


@pytest.mark.parametrize("service", STATE)
def test_state_belongs_to_its_service(seen: Seen, service: str) -> None:
    """No service can read the state of another."""
    folder = seen.file(f"/var/lib/skerry/{service}")
    user, mode = STATE[service]
    assert (folder.user, folder.group, folder.mode) == (user, user, mode)


@pytest.mark.parametrize("service", STATE)
def test_a_service_reads_the_generation_in_force(seen: Seen, service: str) -> None:
    """The drop-in of a service is a link that follows the switch of generations."""
    assert seen.file(drop_in(service)).link == f"../../current/{service}.toml"


@pytest.mark.parametrize("name", SOCKETS)
def test_sockets_are_for_their_group(configured: Seen, name: str) -> None:
    """Each socket has owner, group and mode of the interface page."""
    socket = configured.file(f"/run/skerry/{name}.sock")
    assert (socket.user, socket.group, socket.mode) == SOCKETS[name]


def test_services_start_when_called(configured: Seen) -> None:
    """A call to a socket starts the sandboxed service, which tells the settings in force."""
    digests = dict(line.split() for line in configured.said[CALL].ok().splitlines())
    assert {name: len(digest) for name, digest in digests.items()} == dict.fromkeys(VERSIONS, 64)


def test_services_are_sandboxed(booted: Seen) -> None:
    """systemd's own measure of exposure is at most 2.0 for each service."""
    booted.said[EXPOSURE].ok()
