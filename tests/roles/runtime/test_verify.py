"""The native runtime: users, units, sockets, sandboxes, answers."""

import pytest
from testinfra.host import Host

pytestmark = pytest.mark.appliance

USERS = {
    "skerry-keys": (13611, set()),
    "skerry-certs": (13612, {"skerry-keys"}),
    "skerry-tpm": (13613, {"tss"}),
    "skerry-identity": (13614, {"skerry-keys", "skerry-certs", "skerry-tpm"}),
    "skerry-edge": (13615, {"docker", "skerry-keys", "skerry-certs", "skerry-identity"}),
    "skerry-agent": (13622, set()),
    "skerry-hub": (13623, set()),
}
SOCKETS = {
    "keyd": ("root", "skerry-keys", 0o660),
    "certd": ("root", "skerry-certs", 0o660),
    "identityd": ("root", "skerry-identity", 0o660),
    "mgmt": ("skerry-agent", "skerry-edge", 0o660),
    "workload": ("root", "root", 0o666),
}
STATE = {
    "keyd": ("skerry-keys", 0o700),
    "certd": ("skerry-certs", 0o700),
    "identityd": ("skerry-identity", 0o700),
    "edged": ("skerry-edge", 0o755),
}
ENABLED = (
    "sockets.target.wants/skerry-keyd.socket",
    "sockets.target.wants/skerry-certd.socket",
    "sockets.target.wants/skerry-identityd.socket",
    "sockets.target.wants/skerry-edged-mgmt.socket",
    "sockets.target.wants/skerry-edged-workload.socket",
    "multi-user.target.wants/skerry-edged.service",
    "multi-user.target.wants/skerry-seed.service",
)
ASK = (
    "from pathlib import Path; from skerry.base.client import ServiceClient; "
    "print(ServiceClient(Path('/run/skerry/{socket}.sock'), '{version}').get('/config')['digest'])"
)
VERSIONS = {"keyd": "2021-05-01", "certd": "2020-09-01", "identityd": "2022-08-01"}


@pytest.mark.parametrize("name", USERS)
def test_users_have_fixed_numbers(host: Host, name: str) -> None:
    """Each user has the number and the groups of the interface page."""
    number, groups = USERS[name]
    user = host.user(name)
    assert (user.uid, user.gid) == (number, number)
    assert set(user.groups) == {name, *groups}


@pytest.mark.parametrize("link", ENABLED)
def test_units_start_at_boot(host: Host, link: str) -> None:
    """Sockets, edged and the seed service are enabled."""
    assert host.file(f"/etc/systemd/system/{link}").is_symlink


def test_the_package_is_as_it_was_built(host: Host) -> None:
    """No file of the package was changed, and the command runs."""
    assert host.check_output("dpkg --verify skerry") == ""
    assert host.check_output("skerry --version").startswith("skerry ")


def test_modules_are_compiled_without_time_stamps(host: Host) -> None:
    """Every module has its compiled form, bound to no time and checked by nobody."""
    folder = "/usr/lib/python3/dist-packages/skerry/base/__pycache__"
    header = host.check_output(f"head -c 8 {folder}/clock.*.pyc | od -An -tx1").split()
    assert header[4:] == ["01", "00", "00", "00"]


@pytest.mark.parametrize("service", STATE)
def test_state_belongs_to_its_service(host: Host, service: str) -> None:
    """No service can read the state of another."""
    folder = host.file(f"/var/lib/skerry/{service}")
    user, mode = STATE[service]
    assert (folder.user, folder.group, folder.mode) == (user, user, mode)


@pytest.mark.parametrize("service", STATE)
def test_a_service_reads_the_generation_in_force(host: Host, service: str) -> None:
    """The drop-in of a service is a link that follows the switch of generations."""
    link = host.file(f"/etc/skerry/{service}/config.d/00-super.toml")
    assert link.is_symlink
    target = host.check_output(f"readlink /etc/skerry/{service}/config.d/00-super.toml")
    assert target == f"../../current/{service}.toml"


@pytest.mark.parametrize("name", SOCKETS)
def test_sockets_are_for_their_group(configured: Host, name: str) -> None:
    """Each socket has owner, group and mode of the interface page."""
    socket = configured.file(f"/run/skerry/{name}.sock")
    assert (socket.user, socket.group, socket.mode) == SOCKETS[name]


@pytest.mark.parametrize("service", VERSIONS)
def test_a_service_starts_when_called(configured: Host, service: str) -> None:
    """A call to the socket starts the sandboxed service, which tells the settings in force."""
    code = ASK.format(socket=service, version=VERSIONS[service])
    answer = configured.run(f'python3 -c "{code}"')
    assert answer.rc == 0, answer.stderr
    assert len(answer.stdout.strip()) == 64


@pytest.mark.parametrize("service", STATE)
def test_services_are_sandboxed(booted: Host, service: str) -> None:
    """systemd's own measure of exposure is at most 2.0."""
    told = booted.run(
        f"systemd-analyze security --no-pager --threshold=20 skerry-{service}.service"
    )
    assert told.rc == 0, told.stdout.splitlines()[-1]
