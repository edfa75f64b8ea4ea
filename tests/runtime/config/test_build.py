"""Tables become typed values: defaults filled in, units resolved, addresses ours."""

import tomllib

import pytest

from skerry.config.build import build
from skerry.config.model import (
    Dps,
    Manual,
    PullPolicy,
    Quickstart,
    Standalone,
    Unprovisioned,
    Uris,
)

BASE = '[provisioning]\nsource = "standalone"\n'


def test_what_is_not_said_has_its_default() -> None:
    """The shortest file gives a whole configuration."""
    config = build(tomllib.loads(BASE), "1.2.3")
    assert config.provisioning == Standalone()
    assert config.edge_ca == Quickstart(expiry_days=90)
    assert (config.agent.image, config.agent.pull_policy) == (
        "localhost/skerry/agent:1.2.3", PullPolicy.NEVER,
    )  # fmt: skip
    assert config.watchdog_max_retries is None
    assert config.max_requests.management == 50


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ('source = "none"', Unprovisioned),
        (
            'source = "manual"\n'
            'connection_string = "HostName=h;DeviceId=d;SharedAccessKey=AAAA"',
            Manual,
        ),
        (
            'source = "dps"\nglobal_endpoint = "https://d"\nid_scope = "i"\n'
            'attestation = { method = "tpm", registration_id = "r" }',
            Dps,
        ),
    ],
)  # fmt: skip
def test_a_source_is_a_type(source: str, kind: type) -> None:
    """Each way to provision has its own class."""
    config = build(tomllib.loads(f"[provisioning]\n{source}\n"), "1")
    assert isinstance(config.provisioning, kind)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("512", 512), ('"512"', 512), ('"2 KB"', 2000), ('"2KiB"', 2048),
     ('"3MB"', 3_000_000), ('"2GiB"', 2 * 1024**3), ('"1TiB"', 1024**4)],
)  # fmt: skip
def test_sizes_are_bytes(text: str, size_bytes: int) -> None:
    """Units of 1000 and of 1024 are told apart."""
    tables = tomllib.loads(f"{BASE}[hub.storeAndForward]\nmaxBytes = {text}\n")
    hub = build(tables, "1").hub
    assert hub is not None
    assert hub.max_bytes == size_bytes


def test_retries_may_be_a_number_or_without_end() -> None:
    """The word is upstream's, in any case."""
    for text, retries in (("7", 7), ('"Infinite"', None)):
        config = build(tomllib.loads(f"{BASE}[watchdog]\nmax_retries = {text}\n"), "1")
        assert config.watchdog_max_retries == retries


def test_addresses_of_others_are_kept() -> None:
    """Only upstream's own addresses become ours."""
    text = f'{BASE}[listen]\nworkload_uri = "unix:///a"\nmanagement_uri = "fd://aziot-edged.mgmt.socket"\n'
    config = build(tomllib.loads(text), "1")
    assert config.listen == Uris("unix:///a", "fd://skerry-edged-mgmt.socket")


def test_secrets_do_not_print() -> None:
    """The configuration can be logged whole."""
    text = (
        f'{BASE}[modules.m]\nimage = "x"\nauth = {{ username = "u", password = "swordfish" }}\n'
        '[agent]\nname = "a"\ntype = "docker"\n'
        'config = { image = "x", auth = { password = "swordfish" } }\n'
        '[tpm.hierarchy_authorization]\nowner = "swordfish"\n'
    )
    assert "swordfish" not in repr(build(tomllib.loads(text), "1"))
