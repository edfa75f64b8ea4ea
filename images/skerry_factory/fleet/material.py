"""What only one device may have: its key, and its certificate from the operator's authority.

    <fleet>/identities.jsonl      0600: {"device", "key", "chain"} a line; the last one of a device
                                  counts, a line that a crash cut short does not

It is kept so that stamping again, on a newer image or after a crash, gives the same identity. A key
of a group is derived and not kept; what a TPM has never leaves it. Symmetric keys are base64,
others PEM; `chain` is the certificate and that of its authority.
"""

import base64
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from skerry.wire import sas
from skerry_factory.errors import DefinitionError
from skerry_factory.fleet.lines import append_lines, not_ours, read_lines
from skerry_factory.fleet.model import FleetDevice, IdentityPlan, Method

KEY_BYTES = 32
BACKDATED = timedelta(hours=1)
"""A device's clock may be a little behind the factory's."""

CaKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Material:
    """A device's own key, and its chain for X.509; both empty where it has none."""

    key: str = field(default="", repr=False)
    chain: str = ""

    @property
    def certificate(self) -> x509.Certificate | None:
        return x509.load_pem_x509_certificate(self.chain.encode()) if self.chain else None


@dataclass(frozen=True)
class World:
    """What stamping needs from outside: time, randomness (for symmetric keys), room on a disk."""

    now: Callable[[], datetime]
    random_bytes: Callable[[int], bytes]
    free_bytes: Callable[[Path], int]


class Maker:
    """Makes the material of devices as a plan asks for it."""

    def __init__(self, plan: IdentityPlan, world: World) -> None:
        """Raises: DefinitionError when the authority or the group's key is of no use."""
        self._plan = plan
        self._world = world
        self._authority: _Authority | None = None
        self._group_key = b""
        if plan.ca_certificate is not None and plan.ca_key is not None:
            until = world.now() + timedelta(days=plan.valid_days)
            self._authority = _Authority.load(plan.ca_certificate, plan.ca_key, until)
        if plan.group_key is not None:
            self._group_key = _group_key(plan.group_key)

    def keep_or_make(self, device: FleetDevice, former: Material | None) -> Material:
        """Return the former material if it still is what the plan asks for, else new one."""
        match self._plan.method:
            case Method.X509 if self._authority is not None:
                if former is not None and self._is_current(self._authority, device, former):
                    return former
                return self._issued(self._authority, device)
            case Method.SYMMETRIC_KEY if self._group_key:
                derived = sas.device_key(self._group_key, device.registration_id)
                return Material(base64.b64encode(derived).decode())
            case Method.SYMMETRIC_KEY:
                if former is not None and former.key and not former.chain:
                    return former
                return Material(base64.b64encode(self._world.random_bytes(KEY_BYTES)).decode())
            case _:
                return Material()

    @property
    def is_kept(self) -> bool:
        """Tell whether what is made is new each time, and has to be kept."""
        return self._plan.method is Method.X509 or (
            self._plan.method is Method.SYMMETRIC_KEY and not self._group_key
        )

    def _is_current(self, authority: "_Authority", device: FleetDevice, material: Material) -> bool:
        certificate = material.certificate
        return (
            certificate is not None
            and certificate.subject == _name(device)
            and certificate.not_valid_after_utc > self._world.now()
            and authority.issued(certificate)
        )

    def _issued(self, authority: "_Authority", device: FleetDevice) -> Material:
        now = self._world.now()
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = authority.issue(
            _name(device), key.public_key(), now, now + timedelta(days=self._plan.valid_days)
        )
        return Material(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode(),
            certificate.public_bytes(serialization.Encoding.PEM).decode() + authority.pem,
        )


@dataclass(frozen=True)
class _Authority:
    certificate: x509.Certificate
    key: CaKey
    pem: str
    key_id: x509.AuthorityKeyIdentifier

    @classmethod
    def load(cls, certificate_file: Path, key_file: Path, until: datetime) -> "_Authority":
        try:
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        except ValueError as error:
            raise _refused(f"{certificate_file}: no certificate in PEM") from error
        try:
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        except TypeError as error:
            words = f"{key_file}: encrypted; give the key in the clear, in a file of mode 0600"
            raise _refused(words) from error
        except ValueError as error:
            raise _refused(f"{key_file}: no private key in PEM") from error
        if not isinstance(key, CaKey):
            raise _refused(f"{key_file}: expected a key of RSA, ECDSA or Ed25519")
        if certificate.public_key() != key.public_key():
            raise _refused(f"{key_file}: not the key of {certificate_file}")
        if not _may_sign(certificate):
            raise _refused(f"{certificate_file}: not the certificate of an authority")
        if certificate.not_valid_after_utc < until:
            end = certificate.not_valid_after_utc.date()
            raise _refused(f"{certificate_file}: ends {end}, before the devices'; lower valid_days")
        key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        return cls(certificate, key, pem, key_id)

    def issued(self, certificate: x509.Certificate) -> bool:
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def issue(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, until: datetime
    ) -> x509.Certificate:
        hash_kind = None if isinstance(self.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - BACKDATED, self.certificate.not_valid_before_utc))
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_DIGITAL_SIGNATURE, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(self.key_id, critical=False)
            .sign(self.key, hash_kind)
        )


_DIGITAL_SIGNATURE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def read_material(file: Path) -> dict[str, Material]:
    """Return the material by device; none when the file is not there."""
    try:
        return {
            str(line["device"]): Material(str(line["key"]), str(line["chain"]))
            for line in read_lines(file)
        }
    except KeyError as error:
        raise not_ours(file) from error


def keep_material(file: Path, made: Mapping[str, Material]) -> None:
    """Add material to the file; it lasts when this returns."""
    lines: Iterable[Mapping[str, object]] = (
        {"device": device, "key": found.key, "chain": found.chain} for device, found in made.items()
    )
    append_lines(file, lines, mode=0o600)


def system_world() -> World:
    """Return the world of a command: the machine's clock, randomness and disks."""

    def now() -> datetime:
        return datetime.now(UTC).replace(microsecond=0)

    def free_bytes(folder: Path) -> int:
        return shutil.disk_usage(folder).free

    return World(now, secrets.token_bytes, free_bytes)


def _name(device: FleetDevice) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device.registration_id)])


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _group_key(file: Path) -> bytes:
    try:
        key = base64.b64decode(file.read_text("ascii").strip(), validate=True)
    except ValueError as error:
        raise _refused(f"{file}: no base64; expected the primary key of the group") from error
    if not 16 <= len(key) <= 64:
        raise _refused(f"{file}: a key of {len(key)} bytes, expected 16 to 64")
    return key


def _refused(problem: str) -> DefinitionError:
    return DefinitionError([problem], "nothing was stamped")
