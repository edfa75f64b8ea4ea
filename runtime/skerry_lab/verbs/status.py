"""`skerry-lab status`: what a lab is, whether it runs, and how much it holds."""

import argparse

from cryptography import x509

from skerry_lab.client import LabClient, NotRunningError
from skerry_lab.cloud import Cloud
from skerry_lab.errors import LabError
from skerry_lab.store import DATABASE, ROOT_FILE
from skerry_lab.verbs._common import add_command, opened, show


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    add_command(subparsers, "status", "show what the lab is and holds", _run)


def _run(options: argparse.Namespace) -> int:
    if not (options.data / DATABASE).exists():
        raise LabError(
            f"{options.data} holds no lab; `skerry-lab up --data {options.data}` makes one"
        )

    def work(cloud: Cloud) -> dict[str, object]:
        oldest, newest = cloud.messages.ends()
        return {
            "hub": cloud.names.own,
            "idScope": cloud.id_scope,
            "devices": sum(cloud.registry.store.count_devices().values()),
            "enrollments": len(cloud.dps.enrollments()),
            "messagesStored": newest - oldest + 1,
        }

    with opened(options) as store:
        facts = store.do(work)
    facts = {**facts, **_files(options), **_live(options)}
    show(options, facts)
    return 0


def _files(options: argparse.Namespace) -> dict[str, object]:
    parts = (options.data / f"{DATABASE}{end}" for end in ("", "-wal"))
    facts: dict[str, object] = {
        "databaseBytes": sum(part.stat().st_size for part in parts if part.exists())
    }
    root = options.data / ROOT_FILE
    if root.exists():
        certificate = x509.load_pem_x509_certificate(root.read_bytes())
        facts["rootExpires"] = certificate.not_valid_after_utc.isoformat()
    return facts


def _live(options: argparse.Namespace) -> dict[str, object]:
    try:
        client = LabClient(options.data)
        answer = client.request("GET", "/statistics/service")
    except NotRunningError:
        return {"running": False}
    counted = answer.document if isinstance(answer.document, dict) else {}
    return {
        "running": True,
        "pid": client.running.pid,
        "httpsPort": client.running.https_port,
        "mqttPort": client.running.mqtt_port,
        "connectedDevices": counted.get("connectedDeviceCount", 0),
    }
