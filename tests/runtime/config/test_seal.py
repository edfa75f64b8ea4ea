"""Files of the seed: who reads which, and where they come to lie."""

import pwd
import tomllib
from pathlib import Path

import pytest

from harness.devices import FolderFiles
from skerry.base.errors import SkerryError
from skerry.config.document import read
from skerry.config.machine import MachineFiles, service_ids
from skerry.config.seal import seal
from skerry.config.site import Ids, Site

TEXT = """\
imported_master_encryption_key = "/run/seed/secrets/file"
additional_info = "file:///run/seed/secrets/file"
[preloaded_keys]
a = "file:///run/seed/secrets/file"
b = "pkcs11:object=b"
[preloaded_certs]
a = "file:///run/seed/secrets/file"
list = ["a", "file:///run/seed/secrets/file"]
[provisioning]
source = "dps"
payload.uri = "file:///run/seed/secrets/file"
[provisioning.attestation]
symmetric_key = { uri = "file:///run/seed/secrets/file" }
[modules.m]
env = { A = "file:///run/seed/secrets/file" }
"""


def test_a_file_goes_to_the_service_that_reads_it(tmp_path: Path) -> None:
    """Keys to keyd, certificates to certd, the payload to identityd, the rest to apply itself."""
    (tmp_path / "run/seed/secrets").mkdir(parents=True)
    (tmp_path / "run/seed/secrets/file").write_bytes(b'a = "1"')
    sealed = seal(read(TEXT.encode(), "f"), Site("machine"), FolderFiles(tmp_path))
    assert sealed.problems == ()
    owners = {path.split("/")[4]: planned.uid for path, planned in sealed.placed.items()}
    assert owners == {"keyd": 13611, "certd": 13612, "identityd": 13614, "config": None}
    tables = tomllib.loads(sealed.text)
    assert tables == sealed.tables
    name = tables["imported_master_encryption_key"]
    assert name.startswith("/var/lib/skerry/config/imported/file-")
    assert tables["additional_info"] == f"file://{name}"
    assert set(sealed.files) == {name}
    assert "/keyd/imported/" in tables["provisioning"]["attestation"]["symmetric_key"]["uri"]
    assert tables["preloaded_certs"]["list"][0] == "a"
    assert "/certd/imported/" in tables["preloaded_certs"]["list"][1]
    assert tables["modules"]["m"]["env"]["A"] == "file:///run/seed/secrets/file"


def test_a_reference_may_move_with_its_module(tmp_path: Path) -> None:
    """A secret keeps its name when the key path around it changes."""
    reference = '{ secret = "sealed:modules.m.auth.password" }'
    text = f'[modules.n]\nimage = "x"\nauth = {{ username = "u", password = {reference} }}\n'
    document = read(text.encode(), "f", {"modules.m.auth.password": "swordfish"})
    sealed = seal(document, Site("machine"), FolderFiles(tmp_path))
    assert sealed.text == text
    assert sealed.secrets == {"modules.m.auth.password": "swordfish"}
    assert sealed.tables["modules"]["n"]["auth"]["password"] == "swordfish"


GROUP = """\
[provisioning]
source = "dps"
global_endpoint = "https://dps.example"
id_scope = "0ne"
attestation.method = "symmetric_key"
attestation.registration_id = "my-device"
attestation.group_key = 'YXppb3QtaWRlbnRpdHktc2VydmljZXxhemlvdC1pZGU'  # of the group
"""
DERIVED = "+3z3M+Co8lZQwgG/1/U3Nt2vIm71uiNBCUzALWPnCw0="  # HMAC-SHA256, by the openssl command


def test_a_group_key_becomes_the_key_of_the_device(tmp_path: Path) -> None:
    """What is installed and sealed is the derived key; the group's is nowhere."""
    sealed = seal(read(GROUP.encode(), "f"), Site("machine"), FolderFiles(tmp_path))
    name = "provisioning.attestation.symmetric_key.value"
    line = (
        f'attestation.symmetric_key = {{ value = {{ secret = "sealed:{name}" }} }}  # of the group'
    )
    assert sealed.text.splitlines()[-1] == line
    assert sealed.secrets == {name: DERIVED}
    assert "YXppb3Qta" not in repr(sealed)


def test_the_installed_text_means_what_the_group_key_meant(tmp_path: Path) -> None:
    """Applying the sealed text again gives the same tables, so nothing changes."""
    first = seal(read(GROUP.encode(), "f"), Site("machine"), FolderFiles(tmp_path))
    document = read(first.text.encode(), "f", first.secrets)
    assert document.problems == ()
    second = seal(document, Site("machine"), FolderFiles(tmp_path))
    assert (second.text, second.tables) == (first.text, first.tables)


def test_the_pin_of_a_token_is_sealed(tmp_path: Path) -> None:
    """A PIN in a key URI is a secret like a password; a URI without one stays as it is."""
    text = (
        '[provisioning]\nsource = "standalone"\n[aziot_keys]\npkcs11_lib_path = "/l.so"\n'
        'pkcs11_base_slot = "pkcs11:token=t?pin-value=1234"\n[preloaded_keys]\n'
        'a = "pkcs11:object=a?pin-value=5678"\nb = "pkcs11:object=b"\n'
    )
    sealed = seal(read(text.encode(), "f"), Site("machine"), FolderFiles(tmp_path))
    assert "pin-value" not in sealed.text
    assert sealed.text.endswith('b = "pkcs11:object=b"\n')
    again = read(sealed.text.encode(), "f", sealed.secrets)
    assert (again.problems, again.tables) == ((), sealed.tables)


def test_the_seed_may_lie_elsewhere(tmp_path: Path) -> None:
    """`--from DIR` gives the files that the configuration names in /run/seed."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/a").write_bytes(b"x")
    assert MachineFiles(tmp_path).read("/run/seed/secrets/a") == b"x"
    assert MachineFiles(None).read(str(tmp_path / "secrets/a")) == b"x"


def test_a_file_is_not_looked_for_outside_its_folder(tmp_path: Path) -> None:
    """A path that climbs out is refused, and so is a file without bounds."""
    with pytest.raises(OSError, match=r"its path has '\.\.'"):
        MachineFiles(tmp_path).read("/run/seed/secrets/../../etc/shadow")
    (tmp_path / "big").write_bytes(b" " * (1024 * 1024 + 1))
    with pytest.raises(OSError, match="expected at most 1048576"):
        MachineFiles(tmp_path).read(str(tmp_path / "big"))


def test_the_users_of_the_services_are_looked_up() -> None:
    """By name; the numbers are those that this machine has given them."""

    def lookup(name: str) -> pwd.struct_passwd:
        return pwd.struct_passwd((name, "x", len(name), 0, "", "/", "/"))

    assert service_ids(lookup) == Ids(11, 12, 10, 15, 11)


def test_a_user_that_is_missing_is_named() -> None:
    """The package has not been installed, and that is what to do."""

    def lookup(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    with pytest.raises(SkerryError, match="user 'skerry-keys' does not exist; install the skerry"):
        service_ids(lookup)
