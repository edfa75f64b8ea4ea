"""fleet.toml: three ways to name devices, and every mistake at its place."""

import re

import pytest

from factory.fleet.conftest import DPS, STANDALONE, THREE, TPM, Site
from skerry_factory.errors import DefinitionError
from skerry_factory.fleet.definition import load_fleet
from skerry_factory.fleet.keys import write_keys

CSV = 'csv = "devices.csv"'


def test_a_pattern_counts(site: Site) -> None:
    """Ids, host names and addresses follow from the first one."""
    site.write(STANDALONE, THREE + '\nfirst = 9\ndomain = "plant.example"')
    site.file.write_text(site.file.read_text() + '[network]\nfirst_address = "10.0.0.254/23"\n')
    devices = load_fleet(site.file).devices
    assert [(d.id, d.hostname, str(d.address)) for d in devices] == [
        ("press-09", "press-09.plant.example", "10.0.0.254/23"),
        ("press-10", "press-10.plant.example", "10.0.0.255/23"),
        ("press-11", "press-11.plant.example", "10.0.1.0/23"),
    ]


def test_a_table_and_a_csv_file_say_the_same(site: Site) -> None:
    """A device is the same however it was written."""
    site.write(
        STANDALONE,
        '[[devices.table]]\nid = "a"\naddress = "10.0.0.1/24"\nlabels = { hall = "3" }\n'
        '[[devices.table]]\nid = "b"\nhostname = "b.example"\nregistration_id = "B"',
    )
    by_table = load_fleet(site.file).devices
    site.write(STANDALONE, CSV)
    rows = "id;hostname;registration_id;address;label.hall\na;;;10.0.0.1/24;3\nb;b.example;B;;\n"
    (site.folder / "devices.csv").write_text(rows)
    assert load_fleet(site.file).devices == by_table


def test_collected_keys_are_part_of_the_table(site: Site) -> None:
    """A key in endorsement-keys.csv belongs to the device of that id."""
    site.write(TPM)
    write_keys(site.folder / "endorsement-keys.csv", {"press-02": "QUJD"})
    assert [d.endorsement_key for d in load_fleet(site.file).devices] == ["", "QUJD", ""]


@pytest.mark.parametrize(
    ("identity", "devices", "told"),
    [
        (STANDALONE, 'patern = "x-{n}"', ":12:1: devices.patern: unknown key"),
        (STANDALONE, 'pattern = "x"\ncount = 2', "expected a name with one number in it"),
        (STANDALONE, 'pattern = "x-{n}"', "devices.count: missing; expected how many devices"),
        (STANDALONE, "", "devices are given by nothing; expected one of pattern, csv and table"),
        (STANDALONE, THREE + "\n" + CSV, "given by pattern and csv"),
        (STANDALONE, CSV, "'devices.csv': no such file; expected a file, relative to fleet.toml"),
        (STANDALONE, THREE.replace("press", "Press"), "'Press-01' does not fit; expected a-z"),
        (STANDALONE, THREE + '\ndomain = "x_y"', "expected a domain such as"),
        ('source = "dsp"', THREE, "expected 'standalone' or 'dps'"),
        (DPS, THREE, "identity.attestation: missing"),
        (DPS + 'attestation = { method = "symmetric_key", group = "g" }', THREE, "group_key"),
        (
            STANDALONE,
            '[[devices.table]]\nid = "a"\naddress = "10.0.0.300/24"',
            ":14:11: devices.table[0].address: '10.0.0.300/24' is no address",
        ),
        (
            STANDALONE,
            '[[devices.table]]\nid = "a"\n[[devices.table]]\nid = "b"\nhostname = "a"',
            ":16:12: devices.table[1].hostname: 'a' is there twice, first at line 12",
        ),
    ],
    ids=[
        "unknown key", "no number", "no count", "no way", "two ways", "no file", "capital",
        "domain", "source", "no attestation", "half a group", "address", "host name twice",
    ],
)  # fmt: skip
def test_a_mistake_is_told_at_its_place(site: Site, identity: str, devices: str, told: str) -> None:
    """What is wrong with the file is told with line, column, key and what was expected."""
    site.write(identity, devices)
    with pytest.raises(DefinitionError, match="nothing was stamped") as refused:
        load_fleet(site.file)
    assert told in str(refused.value)


def test_a_wrong_pattern_is_told_once(site: Site) -> None:
    """A thousand devices of one wrong pattern are one problem."""
    site.write(STANDALONE, 'pattern = "Press-{n}"\ncount = 1000')
    with pytest.raises(DefinitionError, match=r"^[^\n]*'Press-1' does not fit[^\n]*\n1 problem;"):
        load_fleet(site.file)


def test_every_row_is_checked(site: Site) -> None:
    """All wrong cells of a table are told at once, at row and column."""
    site.write(STANDALONE, CSV)
    rows = "id,address\nok,10.0.0.1/24\nNot Ok,\n,10.0.0.3/24\nlast,nowhere\n"
    (site.folder / "devices.csv").write_text(rows)
    with pytest.raises(DefinitionError) as refused:
        load_fleet(site.file)
    places = re.findall(r"devices\.csv:(\d+:\d+: \w+):", str(refused.value))
    assert places == ["3:1: id", "4:1: id", "5:2: address"]


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        ("id,hostname\na,\nb,\na,x\n", ":4:1: id: 'a' is there twice, first at line 2"),
        ("id,registration_id\na,R\nb,r\n", ":3:2: registration_id: 'r' is there twice"),
        ("id,address\na,10.0.0.1/24\nb,10.0.0.1/8\n", ":3:2: address: '10.0.0.1' is there twice"),
        ("id,hostname\na,b\nb,\n", ":3:2: hostname: 'b' is there twice"),
    ],
    ids=["id", "registration id in another case", "address", "default host name"],
)
def test_nothing_may_be_there_twice(site: Site, rows: str, place: str) -> None:
    """What has to be one device's own is refused for two, before anything is made."""
    site.write(STANDALONE, CSV)
    (site.folder / "devices.csv").write_text(rows)
    with pytest.raises(DefinitionError) as refused:
        site.stamp()
    assert place in str(refused.value)
    assert not site.out.exists()


def test_a_network_has_room_for_all(site: Site) -> None:
    """Addresses that would leave their network are refused."""
    site.write(STANDALONE)
    site.file.write_text(site.file.read_text() + '[network]\nfirst_address = "10.0.0.254/24"\n')
    with pytest.raises(DefinitionError, match=r"no addresses for 3 devices; expected a larger"):
        load_fleet(site.file)
