"""What a real engine makes of rights that a device withholds."""

from pathlib import Path

import pytest

from harness.engine import IMAGE, Moby
from skerry.workloads.container import create_body
from skerry.workloads.model import OWNER, OWNER_LABEL, ModuleSpec

pytestmark = pytest.mark.engine

SPELLINGS: tuple[dict[str, object], ...] = (
    {"HostConfig": {"Privileged": True, "CapAdd": ["ALL"]}},
    {"HostConfig": {"privileged": True, "capadd": ["ALL"]}},
    {"hostconfig": {"Privileged": True, "CapAdd": ["ALL"]}, "labels": {OWNER_LABEL: "nobody"}},
    {"Ho\u017ftConfig": {"Privileged": True, "CapAdd": ["ALL"]}},
)


@pytest.mark.parametrize("options", SPELLINGS)
def test_no_spelling_of_a_right_reaches_the_engine(
    real_engine: Moby, tmp_path: Path, options: dict[str, object]
) -> None:
    """The engine reads names in any case: the container has no more rights, and is still ours."""
    spec = ModuleSpec("pump", IMAGE, create_options={"Cmd": ["/bin/true"], **options})
    body = create_body(
        spec, image=IMAGE, sockets=tmp_path, network="none", elevated_permissions=False
    )
    real_engine.api.create_container_from_config(body, "pump")
    try:
        made = real_engine.api.inspect_container("pump")
    finally:
        real_engine.remove_containers()
    host = made["HostConfig"]
    assert (host["Privileged"], host["CapAdd"]) == (False, None)
    assert set(host["CapDrop"]) == {"CHOWN", "SETUID"}
    assert made["Config"]["Labels"][OWNER_LABEL] == OWNER
