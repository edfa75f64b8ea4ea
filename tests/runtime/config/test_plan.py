"""The plan, compared with whole directories: one for every way to provision, attest and issue.

`pytest tests/runtime/config --update-golden` writes them anew.
"""

import json
import re
import tomllib
from pathlib import Path

import pytest

from skerry.config.build import build
from skerry.config.document import read
from skerry.config.plan import Plan, make_plan
from skerry.config.seal import seal
from skerry.config.site import SERVICES, Site

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "config"
CASES = sorted(path.name for path in GOLDEN.iterdir())
FILES = {"/etc/about.toml": b'product_name = "press"\n', "/var/secrets/master.key": b"\x00\x01"}
NOT_YET = re.compile("is not implemented in this version$")


class NoFiles:
    """What the cases name comes from FILES; they name nothing of a seed."""

    def read(self, path: str) -> bytes:
        return FILES[path]


def _plan(case: str) -> Plan:
    document = read((GOLDEN / case / "config.toml").read_bytes(), case)
    assert [p for p in document.problems if not NOT_YET.search(p.message)] == []
    sealed = seal(document, Site("machine"), NoFiles(), present=False)
    return make_plan(build(sealed.tables, "1.2.3"), Site("machine", files=sealed.files))


def _shown(plan: Plan) -> dict[str, bytes]:
    files = {name: planned.data for name, planned in plan.files.items()}
    placed = {
        path: {"owner": planned.uid, "mode": oct(planned.mode), "hex": planned.data.hex()}
        for path, planned in plan.placed.items()
    }
    if placed:
        files["placed.json"] = (json.dumps(placed, indent=1) + "\n").encode()
    return files


@pytest.mark.parametrize("case", CASES)
def test_a_configuration_becomes_the_expected_files(case: str, pytestconfig: pytest.Config) -> None:
    """Files of all services, deployment and placed keys are those of the golden directory."""
    files = _shown(_plan(case))
    folder = GOLDEN / case
    if pytestconfig.getoption("--update-golden"):
        for path in folder.iterdir():
            if path.name != "config.toml":
                path.unlink()
        for name, data in files.items():
            (folder / name).write_bytes(data)
    expected = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "config.toml"}
    assert files == expected


@pytest.mark.parametrize("case", CASES)
def test_every_file_belongs_to_its_service_alone(case: str) -> None:
    """Settings are readable by their service only, the deployment by edged's group too."""
    plan = _plan(case)
    ids = Site("machine").ids
    for service in SERVICES:
        planned = plan.files[f"{service}.toml"]
        assert (planned.uid, planned.gid, planned.mode) == (ids.of(service), ids.of(service), 0o600)
    if "deployment.json" in plan.files:
        planned = plan.files["deployment.json"]
        assert (planned.uid, planned.gid, planned.mode) == (None, ids.edged, 0o640)
    assert all(planned.mode == 0o600 for planned in plan.placed.values())


@pytest.mark.parametrize("case", CASES)
def test_whoever_uses_a_key_may_use_it(case: str) -> None:
    """Every certificate that certd signs itself has its key among certd's rights."""
    plan = _plan(case)
    keyd = tomllib.loads(plan.files["keyd.toml"].data.decode())
    certd = tomllib.loads(plan.files["certd.toml"].data.decode())
    rights = {principal["uid"]: principal["keys"] for principal in keyd["principal"]}
    issued = {k: v for k, v in certd["cert_issuance"].items() if "method" in v}
    for name, options in issued.items():
        if options["method"] == "self_signed" and not name.endswith("-temp"):
            assert name in rights[13612]


def test_there_is_a_case_for_every_variant() -> None:
    """No source, attestation, issuance method or kind of edge CA is without a golden directory."""
    seen: set[tuple[str | None, ...]] = set()
    for case in CASES:
        tables = tomllib.loads((GOLDEN / case / "config.toml").read_text())
        source = tables["provisioning"]
        proof = source.get("attestation", source.get("authentication", {}))
        cert = proof.get("identity_cert")
        seen.add((source["source"], proof.get("method"), _method(cert)))
        seen.add(("edge_ca", _method(tables.get("edge_ca"))))
        seen.add(
            ("local_ca", _method(tables.get("cert_issuance", {}).get("local_ca", {}).get("cert")))
        )
    wanted: set[tuple[str | None, ...]] = {
        (source, "x509", kind)
        for source in ("manual", "dps")
        for kind in ("preloaded", "est", "local_ca")
    }
    wanted |= {("standalone", None, None), ("none", None, None), ("dps", "tpm", None)}
    wanted |= {("manual", None, None), ("manual", "sas", None), ("dps", "symmetric_key", None)}
    wanted |= {("edge_ca", k) for k in (None, "est", "local_ca", "self_signed", "preloaded")}
    wanted |= {("local_ca", k) for k in (None, "est", "self_signed", "preloaded")}
    assert wanted <= seen


def _method(cert: object) -> str | None:
    if isinstance(cert, str):
        return "preloaded"
    if not isinstance(cert, dict):
        return None
    return str(cert.get("method", "preloaded"))
