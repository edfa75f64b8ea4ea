"""Network, proxy and time servers of an image: the files that they become, and mistakes in them."""

from pathlib import Path

import pytest

from skerry_factory.definition import load_definition
from skerry_factory.errors import DefinitionError

IMAGE = """\
[image]
id = "box"
suite = "trixie"
arch = "amd64"
[disk]
size = "3GiB"
[roles]
run = ["seal"]
[system]
"""
SITE = """\
time_servers = ["ntp.site.example", "192.0.2.3"]
[system.network]
dhcp = false
proxy = { https = "http://proxy.site.example:3128", except = ["localhost", ".site.example"] }
[[system.network.interfaces]]
name = "eth0"
addresses = ["192.0.2.10/24", "2001:db8::10/64"]
gateway = "192.0.2.1"
dns = ["192.0.2.2"]
[[system.network.interfaces]]
name = "plant"
addresses = ["198.51.100.10/24"]
vlan = 12
on = "eth0"
"""


def files_of(folder: Path, text: str) -> dict[str, str]:
    (folder / "box").mkdir()
    (folder / "box/image.toml").write_text(IMAGE + text)
    return load_definition(folder / "box/image.toml").system_files.render()


def test_a_definition_without_these_keys_has_no_such_file(tmp_path: Path) -> None:
    """The image is then as the roles make it."""
    assert files_of(tmp_path, "") == {}


def test_a_site_becomes_files_of_systemd_and_chrony(tmp_path: Path) -> None:
    """Fixed addresses, a VLAN upon an interface, a proxy for all services, time servers."""
    files = files_of(tmp_path, SITE)
    network = "etc/systemd/network"
    assert files[f"{network}/60-eth0.network"] == (
        "[Match]\nName=eth0\n\n[Network]\nAddress=192.0.2.10/24\nAddress=2001:db8::10/64\n"
        "Gateway=192.0.2.1\nDNS=192.0.2.2\nVLAN=plant\n"
    )
    assert files[f"{network}/60-plant.netdev"] == (
        "[NetDev]\nName=plant\nKind=vlan\n\n[VLAN]\nId=12\n"
    )
    assert "Address=198.51.100.10/24\n" in files[f"{network}/60-plant.network"]
    assert files["etc/systemd/system.conf.d/10-skerry-proxy.conf"] == (
        "[Manager]\nDefaultEnvironment="
        '"HTTPS_PROXY=http://proxy.site.example:3128" "NO_PROXY=localhost,.site.example" '
        '"https_proxy=http://proxy.site.example:3128" "no_proxy=localhost,.site.example"\n'
    )
    assert files["etc/chrony/sources.d/skerry.sources"] == (
        "server ntp.site.example iburst\nserver 192.0.2.3 iburst\n"
    )
    assert len(files) == 5


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("192.0.2.10/24", "192.0.2.10", "16:14: system.network.interfaces[0].addresses[0]: '192.0"),
        ("192.0.2.10/24", "192.0.2.300/24", "16:14: system.network.interfaces[0].addresses[0]"),
        ('"192.0.2.1"', '"gate"', "17:11: system.network.interfaces[0].gateway: 'gate' is no addr"),
        ('["192.0.2.2"]', '["dns"]', "18:8: system.network.interfaces[0].dns[0]: 'dns' is no add"),
        ('"plant"', '"eth0"', "20:8: system.network.interfaces[1].name: 'eth0' is there twice"),
        ('on = "eth0"', "", "22:8: system.network.interfaces[1].vlan: vlan without on"),
        ("vlan = 12", "vlan = 4095", "22:8: system.network.interfaces[1].vlan: "),
        ('"http://proxy', '"proxy', "13:19: system.network.proxy.https: "),
        ("ntp.site", "ntp site", "10:17: system.time_servers[0]: "),
        ('name = "eth0"', 'name = "Ethernet 0"', "15:8: system.network.interfaces[0].name: "),
        (
            "gateway",
            "gatway",
            "17:1: system.network.interfaces[0].gatway: unknown key; did",
        ),
    ],
)
def test_a_mistake_is_located(tmp_path: Path, before: str, after: str, told: str) -> None:
    """Each wrong value is told at its place, before anything is built."""
    with pytest.raises(DefinitionError) as refused:
        files_of(tmp_path, SITE.replace(before, after, 1))
    assert any(told in problem for problem in refused.value.problems)


def test_a_vlan_upon_nothing_is_refused(tmp_path: Path) -> None:
    """The interface that carries a VLAN has to be described, or the VLAN never comes up."""
    with pytest.raises(DefinitionError, match=r"23:6: .*on: 'eth9' is no interface of this array"):
        files_of(tmp_path, SITE.replace('on = "eth0"', 'on = "eth9"'))
