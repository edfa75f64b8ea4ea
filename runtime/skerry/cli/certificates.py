"""`skerry certificates`: `list` all with expiry and next renewal; `trust`, what leaf devices need.

`trust` is edged's trust bundle, what modules trust too: the certificate that the edge hub shows
chains to one of its certificates, also after a renewal of the edge CA.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.cli._options import add_output

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from skerry.check.certificates import Watched

_ETC = "/etc/skerry"
_API_VERSION = "2022-08-03"


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("certificates", help="the certificates of this device")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list subjects, issuers, expiry and next renewal")
    listing.add_argument("--etc", metavar="DIR", default=_ETC, help=f"default {_ETC}")
    add_output(listing)
    listing.set_defaults(run=run_list)
    trust = actions.add_parser(
        "trust",
        help="print what a leaf device has to trust, as PEM",
        epilog="example: sudo skerry certificates trust > gateway.pem; a device SDK takes that "
        "file as its trusted root, and the host name of this device as its gateway",
    )
    add_output(trust)
    trust.set_defaults(run=run_trust)


def run_list(options: argparse.Namespace) -> int:
    """Print one line per certificate; exit status 1 when one has expired or cannot be read."""
    from skerry.base.client import ApiError
    from skerry.base.clock import SystemClock
    from skerry.certs.client import CertsClient
    from skerry.check.certificates import row
    from skerry.cli._text import columns
    from skerry.cli._units import socket_of

    certs, now = CertsClient(socket_of("certd")), SystemClock().now()
    rows = []
    for one in _watched(Path(options.etc)):
        try:
            rows.append(row(one, certs.get(one.cert_id), now))
        except ApiError as error:
            rows.append(row(one, None, now, str(error)))
    if options.output == "json":
        sys.stdout.write(json.dumps({"certificates": [vars(r) for r in rows]}, indent=1) + "\n")
    else:
        head = ("ROLE", "STATE", "SUBJECT", "ISSUER", "EXPIRES", "NEXT RENEWAL")
        lines = [
            (
                r.role,
                r.state,
                r.subject or "-",
                r.issuer or "-",
                r.not_after or "-",
                r.next_renewal or "-",
            )
            for r in rows
        ]
        sys.stdout.write(columns(head, lines))
    return 1 if any(r.state in {"expired", "unreadable"} for r in rows) else 0


def run_trust(options: argparse.Namespace) -> int:
    """Print the certificates; on standard error who they are, to be compared with what arrived."""
    from cryptography import x509

    from skerry.base.errors import SkerryError

    pem = _trust_bundle()
    try:
        found = [_trusted(one) for one in x509.load_pem_x509_certificates(pem.encode())]
    except ValueError as error:
        raise SkerryError(f"the trust bundle cannot be read: {error}, expected PEM") from error
    if options.output == "json":
        sys.stdout.write(json.dumps({"certificates": found}, indent=1) + "\n")
        return 0
    sys.stdout.write("".join(one["pem"] for one in found))
    for one in found:
        sys.stderr.write(f"{one['subject']}, until {one['not_after']}, SHA-256 {one['sha256']}\n")
    return 0


def _trust_bundle() -> str:
    from skerry.base.client import ApiError, ServiceClient, UnreachableError
    from skerry.base.errors import SkerryError
    from skerry.cli._units import socket_of

    try:
        answer = ServiceClient(socket_of("workload"), _API_VERSION).get("/trust-bundle")
    except UnreachableError as error:
        raise SkerryError(f"{error}; is edged running? see: skerry system status") from error
    except ApiError as error:
        raise SkerryError(f"{error}; the device makes it with its identity") from error
    pem = answer.get("certificate") if isinstance(answer, dict) else None
    if not isinstance(pem, str):
        raise SkerryError(f"edged answered {answer!r}, expected a trust bundle")
    return pem


def _trusted(certificate: "Certificate") -> dict[str, str]:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    from skerry.base.upkeep import rfc3339

    return {
        "subject": certificate.subject.rfc4514_string(),
        "not_after": rfc3339(certificate.not_valid_after_utc),
        "sha256": certificate.fingerprint(SHA256()).hex(),
        "pem": certificate.public_bytes(Encoding.PEM).decode(),
    }


def _watched(etc: Path) -> list["Watched"]:
    from skerry.base.errors import SettingsError, SkerryError
    from skerry.base.settings import load_settings
    from skerry.check.certificates import watched

    names = ("certd", "identityd", "edged")
    try:
        certd, identityd, edged = (load_settings(etc / name) for name in names)
    except SettingsError as error:
        remedy = "; run it with sudo" if "Permission denied" in str(error) else ""
        raise SkerryError(f"{error}{remedy}") from error
    if not certd:
        raise SkerryError("this device has no configuration; see: skerry config apply")
    return watched(certd, identityd, edged, _modules())


def _modules() -> dict[str, str]:
    """Return the generations of the modules by name; none while identityd has no identity."""
    from skerry.base.client import ApiError, UnreachableError
    from skerry.cli._units import socket_of
    from skerry.identity.client import IdentityClient

    try:
        identities = IdentityClient(socket_of("identityd")).modules()
    except (ApiError, UnreachableError) as error:
        sys.stderr.write(f"skerry: the modules are not known: {error}\n")
        return {}
    return {
        one.module_id: one.generation_id
        for one in identities
        if one.module_id is not None and one.generation_id is not None
    }
