"""Configurations of Azure IoT Edge turned into ours, compared with whole files.

`pytest tests/runtime/config --update-golden` writes `expected.toml` and `notices.txt` anew.
"""

from pathlib import Path

import pytest

from skerry.config.importing import Imported, NotImportableError, import_toml
from skerry.config.legacy import MASTER_KEY, import_yaml

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "import"
CASES = sorted(path.name for path in GOLDEN.iterdir())
DPS = "provisioning: {source: dps, global_endpoint: 'https://dps.example', scope_id: 0ne, "


def _import(case: str) -> Imported:
    yaml = GOLDEN / case / "config.yaml"
    if yaml.exists():
        return import_yaml(yaml.read_bytes(), "1.2.3", lambda name: False)
    return import_toml((GOLDEN / case / "config.toml").read_bytes(), "1.2.3")


@pytest.mark.parametrize("case", CASES)
def test_a_configuration_becomes_ours(case: str, pytestconfig: pytest.Config) -> None:
    """What has a counterpart is in the text, all else in the notices, and nothing is wrong."""
    imported = _import(case)
    made = {
        "expected.toml": imported.text,
        "notices.txt": "".join(f"{notice}\n" for notice in imported.notices),
    }
    if pytestconfig.getoption("--update-golden"):
        for name, text in made.items():
            (GOLDEN / case / name).write_text(text)
    assert made == {name: (GOLDEN / case / name).read_text() for name in made}
    assert imported.problems == ()


def test_what_is_ours_already_stays(tmp_path: Path) -> None:
    """Importing the result again changes nothing and has nothing to name."""
    for case in CASES:
        again = import_toml(_import(case).text.encode(), "1.2.3")
        assert (again.text, again.notices) == (_import(case).text, ())


def test_an_old_master_key_is_taken_along() -> None:
    """What modules encrypted on the old system can be decrypted on this one."""
    data = (GOLDEN / "yaml-dps-tpm" / "config.yaml").read_bytes()
    text = import_yaml(data, "1.2.3", lambda name: name == MASTER_KEY).text
    assert f'imported_master_encryption_key = "{MASTER_KEY}"' in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "the file is not YAML: "),
        ("[1]", "the file is no YAML mapping"),
        ("", "the file is no YAML mapping"),
        ("a: &x [1]\nb: *x\n", "the file uses YAML aliases, expected plain values"),
        ("1: 2", "the file has a key that is no text"),
        ("a: 2020-01-01", "the file has a value of the kind date, expected texts and numbers"),
        ("provisioning: {source: external}", "external provisioning is not supported"),
        ("provisioning: {source: pigeon}",
         "provisioning.source is 'pigeon', expected 'manual' or 'dps'"),
        ("provisioning: {source: [1]}", "provisioning.source is [1], expected 'manual' or 'dps'"),
        ("provisioning: 1", "provisioning is no mapping"),
        ("hostname: a", "provisioning has neither device_connection_string nor authentication"),
        ("provisioning: {device_connection_string: '<ADD DEVICE CONNECTION STRING HERE>'}",
         "provisioning.device_connection_string: required parameter 'HostName' is missing"),
        ("provisioning: {authentication: {method: x509}}", "iothub_hostname is missing or no text"),
        (DPS + "attestation: {method: x509}}", "identity_cert is missing or no text"),
        (DPS + "attestation: {method: symmetric_key}}", "symmetric_key is missing or no text"),
        (DPS + "}\ncertificates: {device_ca_pk: /k}", "device_ca_cert is missing or no text"),
    ],
)  # fmt: skip
def test_what_cannot_be_ours_is_refused(text: str, message: str) -> None:
    """A file that is none, or says what we cannot do at all, is named with the reason."""
    with pytest.raises(NotImportableError) as caught:
        import_yaml(text.encode(), "1.2.3", lambda name: False)
    assert str(caught.value).startswith(message)


def test_a_value_that_is_wrong_in_both_is_a_problem() -> None:
    """The import stops at what no system accepts, as `config check` would."""
    text = f"{DPS}attestation: {{registration_id: 'a b'}}}}"
    (problem,) = import_yaml(text.encode(), "1", lambda name: False).problems
    assert problem.key == "provisioning.attestation.registration_id"


@pytest.mark.parametrize("data", [b"a = ", b"\xff"])
def test_a_file_that_is_not_toml_is_refused(data: bytes) -> None:
    """With the parser's own words."""
    with pytest.raises(NotImportableError, match=r"^the file is not TOML: "):
        import_toml(data, "1")
