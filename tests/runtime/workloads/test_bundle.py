"""The support bundle as edged gives it: streamed, whole or broken off, one at a time."""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from fakes.docker_engine import DockerEngine, serving
from harness.edged import House, until
from skerry.base.clock import SystemClock
from skerry.base.http import HttpError
from skerry.base.log import get_logger
from skerry.workloads.bundle import BrokenBundleError, SupportBundles
from skerry.workloads.errors import WorkloadsError


def bundles(program: Sequence[str]) -> SupportBundles:
    return SupportBundles("unix:///e", Path("/x"), SystemClock(), get_logger("test"), program)


def shell(script: str) -> list[str]:
    return ["sh", "-c", script, "collector"]


def test_edged_gives_a_whole_bundle(tmp_path: Path) -> None:
    """The route's body is a zip with the modules' containers, and edged did not grow by it."""
    engine = DockerEngine(images={"localhost/test/agent:1": "sha256:" + "a" * 64})
    with serving(engine, tmp_path / "docker.sock"):
        house = House(tmp_path, f"unix://{tmp_path / 'docker.sock'}")
        house.configure()
        house.host_security()
        house.host()
        try:
            until(lambda: "edgeAgent" in engine.containers, "the agent is made")
            query = {"edge_runtime_only": "true", "since": "90m", "until": ""}
            data = b"".join(house.client().stream("/systeminfo/supportbundle", query))
        finally:
            house.stop()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert "inspect/edgeAgent.json" in archive.namelist()
    assert manifest["edge_runtime_only"] is True


def test_the_query_becomes_options() -> None:
    """Times are resolved here, so a wrong one is an answer and not a broken zip."""
    query = {
        "since": "100",
        "until": "200",
        "iothub_hostname": "h; rm",
        "edge_runtime_only": "TRUE",
    }
    said = b"".join(bundles(shell('printf "%s\\n" "$@"')).stream(query)).decode().splitlines()
    assert said == [
        "--output=-",
        "--quiet",
        "--within-edged",
        "--engine=unix:///e",
        "--etc=/x",
        "--since=100",
        "--until=200",
        "--include-edge-runtime-only",
        "--iothub-hostname=h; rm",
    ]


def test_a_failure_before_the_first_byte_is_an_answer() -> None:
    """The collector's own words, and the next bundle may begin."""
    broken = bundles(shell("echo 'skerry: no space' >&2; exit 1"))
    for _ in range(2):
        with pytest.raises(WorkloadsError, match="cannot be made: no space"):
            broken.stream({})


def test_a_failure_after_the_first_byte_breaks_off() -> None:
    """So the connection ends without its last chunk."""
    stream = bundles(shell("echo PK; exit 3")).stream({})
    with pytest.raises(BrokenBundleError, match="exit status 3"):
        list(stream)


def test_there_is_one_bundle_at_a_time_and_it_ends_with_its_reader(tmp_path: Path) -> None:
    """A second one is told to wait; a reader that goes ends the collector and frees the turn."""
    gone = tmp_path / "gone"
    slow = bundles(shell(f"trap 'touch {gone}; exit' TERM; echo PK; while :; do sleep 0.05; done"))
    stream = slow.stream({})
    assert next(stream) == b"PK\n"
    with pytest.raises(HttpError, match="is being made") as caught:
        slow.stream({})
    assert caught.value.status == 503
    del stream
    assert gone.exists()
    assert next(slow.stream({})) == b"PK\n"
