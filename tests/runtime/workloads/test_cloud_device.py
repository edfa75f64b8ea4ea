"""edged on a device with a hub: its modules are the hub's, and go on when the hub is away."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.docker_engine import DockerEngine
from harness.cloud_device import KEY, b64
from harness.edged import CONFIG, House, env_of, status_of, until
from skerry.base.client import UnreachableError
from skerry_lab.dps.model import Attestation, Enrollment
from skerry_lab.server import Lab

pytestmark = pytest.mark.faults

SIGN = {"keyId": "primary", "algo": "HMACSHA256", "data": "aGVsbG8="}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab") as made:
        key = b64(KEY)
        made.add_enrollment(
            Enrollment(
                "house-1", Attestation.SYMMETRIC_KEY, False, primary_key=key, secondary_key=key
            )
        )
        yield made


@pytest.fixture
def house(tmp_path: Path, lab: Lab, engine: DockerEngine) -> Iterator[House]:
    """A device that DPS has not seen yet; edged runs."""
    root, key = tmp_path / "root.pem", tmp_path / "key"
    root.write_text(lab.root_pem)
    key.write_bytes(KEY)
    provisioning = (
        f'[provisioning]\nsource = "dps"\nglobal_endpoint = "{lab.endpoint}"\n'
        f'id_scope = "{lab.id_scope}"\n[provisioning.attestation]\nmethod = "symmetric_key"\n'
        f'registration_id = "house-1"\nsymmetric_key = {{ uri = "file://{key}" }}\n'
    )
    config = CONFIG.replace('[provisioning]\nsource = "standalone"\n', provisioning)
    made = House(tmp_path, f"unix://{tmp_path / 'docker.sock'}")
    made.configure(f'trust_bundle_cert = "file://{root}"\n{config}')
    made.host_security()
    try:
        yield made
    finally:
        made.stop()


def agent_runs(engine: DockerEngine) -> bool:
    return status_of(engine, "edgeAgent") == "running"


def test_the_agent_is_the_module_that_the_hub_knows(
    house: House, lab: Lab, engine: DockerEngine
) -> None:
    """Device, hub and generation in the agent's environment are those of the registry."""
    house.host()
    until(lambda: agent_runs(engine), "the agent runs")
    env = env_of(engine, "edgeAgent")
    assert (env["IOTEDGE_DEVICEID"], env["IOTEDGE_IOTHUBHOSTNAME"]) == ("house-1", lab.hub_name)
    (agent,) = [m for m in lab.registry.modules("house-1") if m.module_id == "$edgeAgent"]
    assert env["IOTEDGE_MODULEGENERATIONID"] == agent.generation_id


def test_the_device_starts_without_its_hub(house: House, lab: Lab, engine: DockerEngine) -> None:
    """Once provisioned, a restart needs no network: the agent is adopted and signs."""
    house.host()
    until(lambda: agent_runs(engine), "the agent runs")
    before = engine.containers["edgeAgent"].id
    house.stop_edged()
    lab.stop()
    try:
        house.services.end_hosted("identityd")
        house.services.host("identityd")
        house.host()
        house.caller = before
        client = house.client("edgeAgent/workload.sock")

        def signs() -> bool:
            try:
                answer = client.post("/modules/%24edgeAgent/genid/1/sign", SIGN)
            except UnreachableError:
                return False  # the socket of the edged before is still there
            return isinstance(answer, dict) and bool(answer["digest"])

        until(signs, "the agent signs")
        assert engine.containers["edgeAgent"].id == before
    finally:
        lab.start()


def test_edged_waits_for_a_dps_that_does_not_know_the_device(
    house: House, lab: Lab, engine: DockerEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """It says once why it waits, and goes on as soon as the device is enrolled."""
    lab.store.do(lambda cloud: cloud.dps.delete_enrollment("house-1", group=False))
    house.host()
    until(lambda: any('step="device identity"' in m for m in caplog.messages), "edged says so")
    key = b64(KEY)
    lab.add_enrollment(
        Enrollment("house-1", Attestation.SYMMETRIC_KEY, False, primary_key=key, secondary_key=key)
    )
    until(lambda: agent_runs(engine), "the agent runs")
