"""`skerry tpm show`: what IT needs to enrol this device by its TPM."""

import argparse
import json
import sys

from skerry.cli._options import add_output


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("tpm", help="the TPM of this device")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="show what a TPM enrolment needs")
    add_output(show)
    show.set_defaults(run=run_show)


def facts_of_tpm() -> dict[str, str]:
    """Return endorsement key, storage root key and the registration id that comes of the former.

    Raises: SkerryError.
    """
    import hashlib

    from skerry.base.client import ApiError, UnreachableError
    from skerry.base.errors import SkerryError
    from skerry.base.fields import b64
    from skerry.cli._units import socket_of
    from skerry.tpm.client import TpmClient

    try:
        endorsement, storage = TpmClient(socket_of("tpmd")).tpm_keys()
    except UnreachableError as error:
        raise SkerryError(f"{error}; run it with sudo on a device that has tpmd") from error
    except ApiError as error:
        remedy = "; run it with sudo" if error.status == 401 else ""
        raise SkerryError(f"{error}{remedy}") from error
    return {
        # the public area's digest, as Azure IoT Edge's guides make the registration id
        "registration_id": hashlib.sha256(endorsement).hexdigest(),
        "endorsement_key": b64(endorsement),
        "endorsement_key_sha256": hashlib.sha256(endorsement).hexdigest(),
        "storage_root_key": b64(storage),
        "storage_root_key_sha256": hashlib.sha256(storage).hexdigest(),
    }


def run_show(options: argparse.Namespace) -> int:
    """Print the facts of the TPM."""
    facts = facts_of_tpm()
    if options.output == "json":
        sys.stdout.write(json.dumps(facts, indent=1) + "\n")
        return 0
    names = {name: name.replace("_", " ").replace("sha256", "SHA-256") for name in facts}
    width = max(map(len, names.values())) + 2
    sys.stdout.writelines(f"{names[name]:{width}}{value}\n" for name, value in facts.items())
    sys.stderr.write(
        "enrol the device with the endorsement key; the registration id may be any, this one is "
        "the usual choice\n"
    )
    return 0
