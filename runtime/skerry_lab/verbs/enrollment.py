"""`skerry-lab enrollment`: who may register with DPS. Options are those of the Azure CLI."""

import argparse
import base64
import sys
from pathlib import Path

from skerry.wire import sas
from skerry_lab.cloud import Cloud
from skerry_lab.dps.model import (
    Allocation,
    Attestation,
    Enrollment,
    EnrollmentError,
    Reprovision,
    checked,
)
from skerry_lab.verbs._common import (
    add_command,
    add_group,
    json_value,
    opened,
    read_text,
    show,
    show_list,
    switch,
)

_COLUMNS = ("enrollmentId", "kind", "attestation", "enabled", "allocation", "reprovision")


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    commands = add_group(subparsers, "enrollment", "who may register with DPS")
    create = add_command(commands, "create", "enrol a device, or a group of them", _create)
    _add_id(create)
    create.add_argument(
        "--attestation-type", "--at", choices=tuple(Attestation), default=Attestation.SYMMETRIC_KEY
    )
    create.add_argument("--primary-key", "--pk", default="", metavar="BASE64")
    create.add_argument("--secondary-key", "--sk", default="", metavar="BASE64")
    create.add_argument(
        "--certificate-path",
        "--cp",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="x509: the device's certificate, of a group an authority's (PEM)",
    )
    create.add_argument(
        "--ca-name",
        "--cn",
        action="append",
        default=[],
        metavar="NAME",
        help="x509, of a group: an authority of `certificate create`, once it is verified",
    )
    create.add_argument(
        "--endorsement-key",
        "--ek",
        default="",
        metavar="BASE64",
        help="tpm: what `skerry tpm show` prints on the device",
    )
    create.add_argument("--device-id", "--did", default="", metavar="ID")
    create.add_argument("--edge-enabled", "--ee", type=switch, default=True, metavar="true|false")
    create.add_argument(
        "--provisioning-status", "--ps", choices=("enabled", "disabled"), default="enabled"
    )
    create.add_argument("--allocation-policy", "--ap", choices=tuple(Allocation), default="hashed")
    create.add_argument("--iot-hub-host-name", "--hn", default="", metavar="HUB")
    create.add_argument(
        "--reprovision-policy", "--rp", choices=tuple(Reprovision), default="migrate"
    )
    create.add_argument(
        "--payload", type=json_value, metavar="JSON", help="goes back to the device"
    )
    add_command(commands, "list", "list enrolments", _list)
    shown = add_command(commands, "show", "show an enrolment with its keys", _show)
    _add_id(shown)
    delete = add_command(commands, "delete", "remove an enrolment; its devices stay", _delete)
    _add_id(delete)
    compute = add_command(
        commands, "compute-device-key", "print the key of a device of a group", _compute
    )
    compute.add_argument("enrollment_id", metavar="GROUP")
    compute.add_argument("registration_id", metavar="ID")


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("enrollment_id", metavar="ID", help="registration id, or name of the group")
    parser.add_argument("--group", action="store_true", help="a group of devices, not one")


def _create(options: argparse.Namespace) -> int:
    def work(cloud: Cloud) -> dict[str, object]:
        fresh = cloud.registry.fresh_keys()
        has_keys = options.attestation_type == Attestation.SYMMETRIC_KEY
        enrollment = checked(
            Enrollment(
                enrollment_id=options.enrollment_id,
                attestation=Attestation(options.attestation_type),
                group=options.group,
                primary_key=options.primary_key or (fresh.primary_key if has_keys else ""),
                secondary_key=options.secondary_key or (fresh.secondary_key if has_keys else ""),
                certificates=tuple(map(read_text, options.certificate_path)),
                authorities=tuple(options.ca_name),
                endorsement_key=options.endorsement_key,
                device_id=options.device_id,
                edge=options.edge_enabled,
                enabled=options.provisioning_status == "enabled",
                allocation=Allocation(options.allocation_policy),
                hub=options.iot_hub_host_name,
                reprovision=Reprovision(options.reprovision_policy),
                payload=options.payload,
            )
        )
        if cloud.dps.enrollment(enrollment.enrollment_id, group=enrollment.group):
            raise EnrollmentError(
                f"enrolment {enrollment.enrollment_id!r} exists; delete it first to change it"
            )
        cloud.dps.put_enrollment(enrollment)
        return _facts(enrollment, keys=True)

    with opened(options) as store:
        facts = store.do(work)
        cloud = store.cloud
        show(options, facts)
        if options.output == "text":
            sys.stderr.write(
                "\nconfig.toml of the device:\n"
                + _settings(options, str(facts.get("primaryKey", "")), cloud)
            )
    return 0


def _list(options: argparse.Namespace) -> int:
    with opened(options) as store:
        rows = store.do(lambda cloud: [_facts(e, keys=False) for e in cloud.dps.enrollments()])
    show_list(options, rows, _COLUMNS)
    return 0


def _show(options: argparse.Namespace) -> int:
    with opened(options) as store:
        facts = store.do(
            lambda cloud: _facts(_get(cloud, options.enrollment_id, options.group), keys=True)
        )
    show(options, facts)
    return 0


def _delete(options: argparse.Namespace) -> int:
    def work(cloud: Cloud) -> None:
        _get(cloud, options.enrollment_id, options.group)
        cloud.dps.delete_enrollment(options.enrollment_id, group=options.group)

    with opened(options) as store:
        store.do(work)
    return 0


def _compute(options: argparse.Namespace) -> int:
    with opened(options) as store:
        group = store.do(lambda cloud: _get(cloud, options.enrollment_id, True))
    if not group.keys:
        raise EnrollmentError(f"group {options.enrollment_id!r} has no key to derive from")
    key = base64.b64encode(sas.device_key(group.keys[0], options.registration_id)).decode()
    show(options, {"registrationId": options.registration_id, "deviceKey": key})
    return 0


def _get(cloud: Cloud, enrollment_id: str, group: bool) -> Enrollment:
    found = cloud.dps.enrollment(enrollment_id, group=group)
    if found is None:
        what = "group" if group else "individual"
        raise EnrollmentError(
            f"no {what} enrolment {enrollment_id!r}; `skerry-lab enrollment list` shows all"
        )
    return found


def _facts(enrollment: Enrollment, *, keys: bool) -> dict[str, object]:
    facts: dict[str, object] = {
        "enrollmentId": enrollment.enrollment_id,
        "kind": "group" if enrollment.group else "individual",
        "attestation": enrollment.attestation.value,
        "enabled": enrollment.enabled,
        "edge": enrollment.edge,
        "allocation": enrollment.allocation.value,
        "reprovision": enrollment.reprovision.value,
    }
    if keys and enrollment.primary_key:
        facts |= {"primaryKey": enrollment.primary_key, "secondaryKey": enrollment.secondary_key}
    return facts


def _settings(options: argparse.Namespace, key: str, cloud: Cloud) -> str:
    """Return the tables of config.toml that the enrolment is for."""
    registration = "REGISTRATION-ID" if options.group else options.enrollment_id
    lines = [
        'trust_bundle_cert = "file:///…/ca.pem"   # a copy of the one of the lab',
        "",
        "[provisioning]",
        'source = "dps"',
        f'global_endpoint = "https://{cloud.names.own}"',
        f'id_scope = "{cloud.id_scope}"',
        "",
        "[provisioning.attestation]",
    ]
    if options.attestation_type == Attestation.TPM:
        lines += ['method = "tpm"', f'registration_id = "{registration}"']
    elif options.attestation_type == Attestation.X509:
        lines += [
            'method = "x509"',
            f'registration_id = "{registration}"',
            'identity_cert = "file:///…"',
            'identity_pk = "file:///…"',
        ]
    else:
        derived = "skerry-lab enrollment compute-device-key prints it"
        value = derived if options.group else key
        lines += [
            'method = "symmetric_key"',
            f'registration_id = "{registration}"',
            f'symmetric_key = {{ value = "{value}" }}',
        ]
    return "".join(f"  {line}".rstrip() + "\n" for line in lines)
