"""The lab of a demonstration: a real `skerry-lab`, and a configuration that leads to it."""

import base64
import json
import os
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from skerry.config.document import read
from skerry.wire.tpm import ENDORSEMENT_TEMPLATE
from skerry_factory.command import run_command
from skerry_factory.demo_cloud import running_lab
from skerry_factory.stamp import Seed

CONFIG = """hostname = "house"
[provisioning]
source = "standalone"
"""
AGENT = """
[agent]
name = "edgeAgent"
type = "docker"
env = { RuntimeLogLevel = "debug" }
config = { image = "localhost/own/agent:1" }
"""


@pytest.mark.parametrize("agent", ["", AGENT], ids=["our agent", "another agent"])
def test_a_device_is_led_to_the_lab(agent: str, tmp_path: Path) -> None:
    """Its configuration is complete: provisioning by TPM, trust, port; the rest as it was."""
    config = tmp_path / "given.toml"
    config.write_text(CONFIG + agent)
    with running_lab(tmp_path / "lab") as lab:
        seed = lab.seed(Seed("press-41", config))
        running = json.loads((tmp_path / "lab" / "data" / "lab.json").read_text())
        root = seed.secrets["lab-root.pem"].read_text()
    found = tomllib.loads(seed.config.read_text())
    assert found["provisioning"]["attestation"] == {"method": "tpm", "registration_id": "press-41"}
    assert found["provisioning"]["global_endpoint"] == f"https://10.0.2.2:{running['https_port']}"
    assert found["agent"]["env"]["UpstreamPort"] == str(running["mqtt_port"])
    assert found["hub"]["env"] == {"UpstreamPort": str(running["mqtt_port"])}
    assert found["hub"]["routes"] == {"telemetry": "FROM /messages/* INTO $upstream"}
    assert ("RuntimeLogLevel" in found["agent"]["env"]) is bool(agent)
    assert found["hostname"] == "house"
    assert root.startswith("-----BEGIN CERTIFICATE-----")
    assert read(seed.config.read_bytes(), "config.toml").problems == ()
    assert config.read_text() == CONFIG + agent


def test_a_device_is_enrolled_while_the_lab_serves(tmp_path: Path) -> None:
    """By its endorsement key; the lab ends with the demonstration."""
    modulus = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n
    area = replace(ENDORSEMENT_TEMPLATE, unique=modulus.to_bytes(256, "big"))
    with running_lab(tmp_path / "lab") as lab:
        data = tmp_path / "lab" / "data"
        process = json.loads((data / "lab.json").read_text())["pid"]
        lab.enrol("press-41", base64.b64encode(area.marshal()).decode())
        told = run_command(
            ["skerry-lab", "enrollment", "show", "press-41", "--data", str(data)],
            environment={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        )
    assert "tpm" in told
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert not (data / "lab.json").exists()
