"""Signed folders: every way in which one differs from what was signed has its own verdict."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from harness.softhsm import LIBRARY, PIN, SoftHsm
from skerry_factory.cli import run
from skerry_factory.errors import FactoryError
from skerry_factory.signing.keys import Signer, load_public_key, load_signer
from skerry_factory.signing.seal import sign_folder, unsign, verify_folder
from skerry_factory.signing.sums import parse_sums

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
PEM, OPENSSH = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.OpenSSH
PUBLIC = {
    PEM: (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    OPENSSH: (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH),
}


def write_pair(
    folder: Path, key: PrivateKey, form: serialization.PrivateFormat = PEM
) -> tuple[Path, Path]:
    """Write a key pair; returns the private and the public file."""
    private, public = folder / "release.key", folder / "release.pub"
    plain = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    public.write_bytes(key.public_key().public_bytes(*PUBLIC[form]))
    return private, public


@pytest.fixture
def image(tmp_path: Path) -> Path:
    folder = tmp_path / "image"
    (folder / "evidence").mkdir(parents=True)
    (folder / "x.raw").write_bytes(b"disk" * 1000)
    (folder / "manifest.json").write_text("{}")
    (folder / "evidence/sbom.json").write_text("{}")
    (folder / ".lock").touch()
    return folder


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    private, _ = write_pair(tmp_path, ed25519.Ed25519PrivateKey.generate())
    return load_signer(str(private), None)


@pytest.mark.parametrize(
    "key",
    [
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["ed25519", "p-256", "p-384"],
)
@pytest.mark.parametrize("form", [PEM, OPENSSH], ids=["pem", "ssh"])
def test_what_was_signed_is_good(
    key: PrivateKey, form: serialization.PrivateFormat, image: Path, tmp_path: Path
) -> None:
    """Each kind of key, in each form of file, signs a folder that is good afterwards."""
    private, public = write_pair(tmp_path, key, form)
    sign_folder(image, load_signer(str(private), None))
    verdict = verify_folder(image, load_public_key(public))
    assert (verdict.standing, verdict.files) == ("good", 3)


def swap(image: Path) -> None:
    shutil.copy(image / "x.raw", image / "manifest.json")
    (image / "x.raw").write_text("{}")


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a file is missing": (lambda image: (image / "x.raw").unlink(), ["missing: x.raw"]),
    "a file is changed": (lambda image: (image / "x.raw").write_bytes(b"disc"), ["changed: x.raw"]),
    "a file is below": (lambda image: (image / "evidence/y").touch(), ["extra: evidence/y"]),
    "a link is there": (lambda image: (image / "z").symlink_to("x.raw"), ["extra: z"]),
    "two files are swapped": (swap, ["changed: manifest.json", "changed: x.raw"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder_is_told_file_by_file(change: str, image: Path, signer: Signer) -> None:
    """Missing, changed and additional files are each named, and the folder is not good."""
    sign_folder(image, signer)
    do, expected = CHANGES[change]
    do(image)
    verdict = verify_folder(image, signer.public)
    assert verdict.standing == "changed"
    assert verdict.lines(image)[:-1] == expected


@pytest.mark.parametrize("name", ["SHA256SUMS", "SHA256SUMS.sig"])
def test_a_folder_without_a_signature_is_unsigned(name: str, image: Path, signer: Signer) -> None:
    """Without either of the two files nothing is claimed of the others."""
    sign_folder(image, signer)
    (image / name).unlink()
    assert verify_folder(image, signer.public).standing == "unsigned"


def test_stamped_devices_are_not_the_images(image: Path, signer: Signer) -> None:
    """What `stamp` lays beside the files of an image changes nothing."""
    sign_folder(image, signer)
    (image / "devices").mkdir()
    (image / "devices/pump.qcow2").touch()
    assert verify_folder(image, signer.public).good


def test_nothing_is_stamped_from_an_image_that_is_not_as_signed(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`stamp --image-key` refuses before anything is written."""
    _, public = write_pair(tmp_path, ed25519.Ed25519PrivateKey.generate())
    device = ["--config", "config.toml", "--name", "pump", "--out", str(image)]
    assert run(["stamp", "x", *device, "--image-key", str(public)]) == 1
    assert "unsigned: " in capsys.readouterr().err
    assert not (image / "devices").exists()


def test_another_key_is_a_wrong_key(image: Path, signer: Signer) -> None:
    """A signature of somebody else is refused, whatever the files are."""
    sign_folder(image, signer)
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert verify_folder(image, other).standing == "wrong key"


def test_sums_that_were_made_anew_do_not_hold(image: Path, signer: Signer) -> None:
    """Who changes the list of sums is found by the signature."""
    sign_folder(image, signer)
    sums = image / "SHA256SUMS"
    sums.write_bytes(sums.read_bytes().replace(b"  x.raw", b"  x.rax"))
    assert verify_folder(image, signer.public).standing == "wrong key"


def test_a_new_image_is_no_longer_signed(image: Path, signer: Signer) -> None:
    """What changes the files removes the signature; twice is no error."""
    sign_folder(image, signer)
    unsign(image)
    unsign(image)
    assert verify_folder(image, signer.public).standing == "unsigned"


def test_other_programs_can_verify(image: Path, tmp_path: Path) -> None:
    """`openssl` and `sha256sum` come to the same verdict, without Skerry."""
    private, public = write_pair(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    sign_folder(image, load_signer(str(private), None))
    check = ["openssl", "dgst", "-sha256", "-verify", str(public)]
    for command in (
        [*check, "-signature", "SHA256SUMS.sig", "SHA256SUMS"],
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
    ):
        subprocess.run(command, cwd=image, check=True, capture_output=True, timeout=30)


def test_a_key_in_a_token_signs(image: Path, tmp_path: Path, softhsm: SoftHsm) -> None:
    """The private key stays in the token; its public half verifies the folder."""
    uri = f"pkcs11:token=Release?pin-value={PIN}"
    private, public = write_pair(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    command = ["softhsm2-util", "--import", str(private), "--token", "Release", "--label", "images"]
    softhsm.run(*command, "--id", "01", "--pin", PIN)
    sign_folder(image, load_signer(uri.replace("?", ";object=images?"), LIBRARY))
    assert verify_folder(image, load_public_key(public)).good
    with pytest.raises(FactoryError, match="names no private key"):
        load_signer(uri.replace("?", ";object=other?"), LIBRARY)


def test_keys_that_cannot_sign_are_refused(tmp_path: Path) -> None:
    """Another curve, an encrypted key, no key, and a token without its library: each is told."""
    key = ec.generate_private_key(ec.SECP521R1())
    private, public = write_pair(tmp_path, key)
    with pytest.raises(FactoryError, match="another kind of key; expected Ed25519"):
        load_signer(str(private), None)
    with pytest.raises(FactoryError, match="no private key"):
        load_signer(str(public), None)
    with pytest.raises(FactoryError, match="no public key"):
        load_public_key(private)
    with pytest.raises(FactoryError, match="cannot be read: No such file"):
        load_signer(str(tmp_path / "absent"), None)
    with pytest.raises(FactoryError, match="needs --pkcs11-library"):
        load_signer("pkcs11:token=T", None)
    secret = serialization.BestAvailableEncryption(b"pass")
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, PEM, secret))
    with pytest.raises(FactoryError, match="is encrypted"):
        load_signer(str(private), None)


@pytest.mark.parametrize("line", ["x", "0" * 64 + " x", "0" * 63 + "g  x"])
def test_a_line_that_is_no_sum_is_refused(line: str) -> None:
    """Only lines of sha256sum are taken."""
    with pytest.raises(FactoryError, match="SHA256SUMS:1: "):
        parse_sums(f"{line}\n".encode())


def test_the_status_tells_the_verdict(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`verify` ends with 0 for a good folder and 1 for any other."""
    private, public = write_pair(tmp_path, ed25519.Ed25519PrivateKey.generate())
    arguments = ["verify", str(image), "--key", str(public)]
    assert run(arguments) == 1
    assert capsys.readouterr().out.startswith("unsigned: ")
    sign_folder(image, load_signer(str(private), None))
    assert run(arguments) == 0
    assert capsys.readouterr().out.startswith("good: 3 files of ")
    assert run([*arguments, "--output", "json"]) == 0
    assert '"standing": "good"' in capsys.readouterr().out
