"""Hygiene: everything unique or secret that is planted is found, and nothing else.

The clean tree has the shapes that come near: public keys, certificates, documentation of keys,
locked passwords, empty machine-id, links. Planted secrets are made up; none is of use anywhere.
"""

import base64
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.archives import write_archive
from harness.secrets_corpus import SECRETS
from skerry_factory.errors import FactoryError
from skerry_factory.hygiene import entropy_bits, find_leaks

RANDOM = random.Random(7)  # noqa: S311 - made-up secrets must be the same in every run


def noise(length: int) -> str:
    return base64.b64encode(RANDOM.randbytes(length)).decode()


def pem(kind: str) -> str:
    return f"-----BEGIN {kind}-----\n{noise(48)}\n{noise(48)}\n-----END {kind}-----\n"


TOKEN = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IngifQ." + "a" * 43
)

LEAKS = {
    "etc/ssh/ssh_host_ed25519_key": pem("OPENSSH PRIVATE KEY"),
    "etc/ssh/ssh_host_rsa_key.pub": "ssh-rsa AAAA root@build",
    "ssh/ssh_host_ecdsa_key": pem("EC PRIVATE KEY"),
    "etc/machine-id": "666491eda3ca4d00a8983202ac42effb\n",
    "var/lib/dbus/machine-id": "666491eda3ca4d00a8983202ac42effb\n",
    "machine-id": "666491eda3ca4d00a8983202ac42effb\n",
    "var/lib/systemd/random-seed": "x" * 512,
    "var/lib/systemd/credential.secret": noise(32),
    "etc/hostname": "build-host-4\n",
    "etc/hostid": "\x01\x02\x03\x04",
    "etc/resolv.conf": "nameserver 192.0.2.7\n",
    "etc/shadow": "root:$6$abcdefgh$0123456789:19000:0:99999:7:::\n",
    "etc/gshadow": "sudo:$6$abc$def::\n",
    "etc/adjtime": "0.1 1 0\n",
    "etc/NetworkManager/system-connections/site.nmconnection": "[wifi]\nssid=x\n",
    "etc/app/app.conf": f"password = {noise(24)}\n",
    "etc/app/token.yml": f"api_key: '{noise(30)}'\n",
    "etc/app/hub.conf": f"cs=HostName=h;DeviceId=d;SharedAccessKey={noise(32)}\n",
    "etc/app/sas": f"SharedAccessSignature sr=h%2Fdevices%2Fd&sig={'a1B2' * 10}&se=1\n",
    "etc/app/storage": f"AccountName=x;AccountKey={noise(64)}\n",
    "etc/app/cloud": "key AKIA" + "ABCDEFGHIJKLMNOP\n",
    "etc/app/git": "url = ghp_" + "a1B2c3D4" * 5 + "\n",
    "etc/app/jwt": f"Bearer {TOKEN}\n",
    "etc/apt/sources.list.d/site.list": "deb https://user:s3cr3tpw@apt.example/ x main\n",
    "etc/ssl/private/site.key": pem("PRIVATE KEY"),
    "usr/local/share/site.pem": pem("RSA PRIVATE KEY"),
    "usr/lib/python3/dist-packages/app/test.pem": pem("ENCRYPTED PRIVATE KEY"),
    "usr/share/doc/app/example.key": pem("EC PRIVATE KEY"),
    "home/tech/.ssh/id_ed25519": pem("OPENSSH PRIVATE KEY"),
    "home/tech/.ssh/known_hosts": "host ssh-ed25519 AAAA\n",
    "home/tech/.bash_history": "ls\n",
    "home/tech/.netrc": "machine x login y password z\n",
    "home/tech/.docker/config.json": '{"auths": {}}',
    "root/.ansible/tmp/x": "x",
    "root/.python_history": "x",
    "root/notes.txt": "x",
    "root/.cache/pip/x": "x",
    "tmp/ansible_payload": "x",
    "var/tmp/left": "x",
    "run/left.pid": "1",
    "var/log/apt/history.log": "x",
    "var/log/dpkg.log": "x",
    "var/log/wtmp": "x",
    "var/log/journal/abc/system.journal": "x",
    "var/cache/apt/pkgcache.bin": "x",
    "var/lib/apt/lists/archive_Packages": "x",
    "var/cache/ldconfig/aux-cache": "x",
    "var/cache/skerry-build/preload/preload.json": "{}",
    "etc/app/__pycache__/conf.cpython-313.pyc": "x",
    "opt/app/__pycache__/main.cpython-313.pyc": "x",
    "etc/passwd.dpkg-old": "x",
    "etc/.fstab.swp": "x",
    "etc/skerry/config.toml": "[provisioning]\n",
    "etc/skerry/generations/1/keyd.toml": "x",
    "lib/skerry/keyd/device-id.key": "x",
    "lib/docker/image/x": "x",
    "var/lib/cloud/instance-id": "i-1",
    "var/crash/python.crash": "x",
}
"""What must be found: path and content."""

CLEAN = {
    "etc/iscsi/initiatorname.iscsi": "GenerateName=yes\n",
    "etc/snmp/snmpd.conf": "#createUser admin SHA secretword AES\n",
    "etc/mysql/my.cnf": "[client]\n# password = x\n",
    "etc/ppp/chap-secrets": "# client server secret addresses\n",
    "etc/ssl/certs/root.der": "0\x82\x03\x00" + "0\x82\x02\x00\xa0\x03\x02\x01\x02",
    "etc/machine-id": "",
    "etc/hostname": "",
    "etc/shadow": "root:*:19000:0:99999:7:::\ntech:!:19000::::::\ndaemon:!*:19000::::::\n",
    "etc/gshadow": "root:*::\nsudo:*::tech\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "etc/ssh/sshd_config": "#HostKey /etc/ssh/ssh_host_ed25519_key\nPasswordAuthentication no\n",
    "etc/ssl/certs/ca.pem": pem("CERTIFICATE"),
    "etc/app/public.pem": pem("PUBLIC KEY"),
    "etc/app/app.conf": "# password = ask your administrator of the site\npassword = changeme\n",
    "etc/login.defs": "PASS_MAX_DAYS 99999\nENCRYPT_METHOD YESCRYPT\n",
    "etc/apt/sources.list": "deb http://archive.example/debian trixie main\n",
    "etc/skerry/keyd/config.d/00-super.toml": "x = 1\n",
    "etc/pam.d/common-password": "password [success=1 default=ignore] pam_unix.so obscure\n",
    "home/tech/.ssh/authorized_keys": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE tech@site\n",
    "root/.bashrc": "x",
    "root/.profile": "x",
    "usr/bin/ssh-keygen": "\x7fELF ... -----BEGIN OPENSSH PRIVATE KEY-----\n" + "A" * 80,
    "usr/lib/python3/dist-packages/pem.py": 'BEGIN = b"-----BEGIN PRIVATE KEY-----"\n',
    "usr/lib/python3/dist-packages/__pycache__/pem.cpython-313.pyc": "x",
    "usr/share/perl/Keys.pm": "# -----BEGIN RSA PRIVATE KEY-----\n# ...\n",
    "var/lib/dpkg/status": "Package: x\n",
    "lib/skerry/.keep": "",
}


ARCHIVE = "usr/lib/skerry/images/app.tar"
CLEAN_LAYER = {
    "etc/machine-id": "",
    "etc/hostname": "build-host\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    "root/.bashrc": "x",
    "tmp/left": "x",
    "usr/lib/python3/dist-packages/pem.py": 'BEGIN = b"-----BEGIN PRIVATE KEY-----"\n',
}


def places(findings: list[str], parts: int = 1) -> list[str]:
    """Return what findings say before their reason."""
    return [": ".join(finding.split(": ")[:parts]) for finding in findings]


def plant(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        octets = content.encode("latin-1") if isinstance(content, str) else content
        path.write_bytes(octets)
    return root


def test_enough_leaks_are_tried() -> None:
    """There are more than fifty leaks, and more than fifty kinds of secrets."""
    assert len(LEAKS) >= 50
    assert len(SECRETS) >= 50


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_found(tmp_path: Path, name: str) -> None:
    """One leak in a clean tree is one finding, with its path."""
    root = plant(tmp_path, {**CLEAN, name: LEAKS[name]})
    found = find_leaks(root)
    assert [finding.partition(": ")[0] for finding in found] == [name]


@pytest.mark.parametrize("kind", SECRETS)
def test_a_planted_secret_is_found(tmp_path: Path, kind: str) -> None:
    """Each kind of secret is found in a tree, once, at its path."""
    name, content = SECRETS[kind]
    assert places(find_leaks(plant(tmp_path, {name: content}))) == [name]


@pytest.mark.parametrize("packing", ["", "gz", "zst"])
def test_planted_secrets_are_found_in_containers(tmp_path: Path, packing: str) -> None:
    """Each kind of secret is found in the layers of a container image that the tree carries."""
    layers = [dict([content]) for content in SECRETS.values()]
    tree = tmp_path / "tree"
    write_archive(tree / ARCHIVE, layers, packing=packing)
    found = [place.removeprefix(f"{ARCHIVE}: ") for place in places(find_leaks(tree), 2)]
    assert sorted(set(found)) == sorted({name for name, _ in SECRETS.values()})


@pytest.mark.parametrize(
    "environment",
    ["API_TOKEN=" + noise(32), "DB=postgres://app:plantfloor@db.example/x", "K=ghp_" + "a1B2" * 9],
    ids=["by name", "address", "by form"],
)
def test_secrets_in_the_settings_of_a_container_are_found(tmp_path: Path, environment: str) -> None:
    """What an image's environment holds everybody who has the image holds."""
    write_archive(tmp_path / ARCHIVE, [CLEAN_LAYER], environment=[environment])
    assert places(find_leaks(tmp_path), 2) == [f"{ARCHIVE}: configuration"]


def test_a_clean_container_has_no_findings(tmp_path: Path) -> None:
    """What a package brings into a container, and its plain settings, are no leaks."""
    write_archive(tmp_path / ARCHIVE, [CLEAN_LAYER], environment=["PATH=/usr/bin", "LANG=C"])
    assert find_leaks(tmp_path) == []


def test_an_archive_that_cannot_be_read_is_no_clean_one(tmp_path: Path) -> None:
    """What cannot be looked into fails the search."""
    file = tmp_path / ARCHIVE
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * 2000)
    with pytest.raises(FactoryError, match="no container image"):
        find_leaks(tmp_path)


def test_a_clean_tree_has_no_findings(tmp_path: Path) -> None:
    """What only resembles a leak is none."""
    assert find_leaks(plant(tmp_path, CLEAN)) == []


def test_a_link_to_the_machine_id_is_no_leak(tmp_path: Path) -> None:
    """D-Bus' machine-id may point to the system's."""
    link = tmp_path / "var/lib/dbus/machine-id"
    link.parent.mkdir(parents=True)
    link.symlink_to("/etc/machine-id")
    assert find_leaks(tmp_path) == []


def test_a_link_to_the_resolver_is_no_leak(tmp_path: Path) -> None:
    """systemd-resolved's link is the same on every device."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    assert find_leaks(tmp_path) == []


def test_entropy_tells_words_from_keys() -> None:
    """A repeated letter has none, a random text much."""
    assert entropy_bits(b"aaaa") == 0
    assert entropy_bits(b"abcd") == 2
