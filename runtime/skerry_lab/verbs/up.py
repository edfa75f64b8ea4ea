"""`skerry-lab up`: serves until it is told to stop."""

import argparse
import ipaddress
import signal
import sys
import threading

from skerry.base import log
from skerry_lab.dps.service import DpsSettings
from skerry_lab.listen import LOOPBACK
from skerry_lab.messages.model import MessageSettings
from skerry_lab.server import Lab, LabSettings
from skerry_lab.store import ROOT_FILE
from skerry_lab.verbs._common import add_command, show

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - only when the operator names the machine

_TRUSTED = "/usr/local/share/ca-certificates/skerry-lab.crt"


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = add_command(subparsers, "up", "serve the hub and DPS until stopped", _run)
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME",
        help="name or address that devices reach this machine by; the first is the hub's name "
        "(default localhost). With one the lab listens on all addresses",
    )
    parser.add_argument(
        "--listen",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="address to listen on (default: loopback, or all with --host)",
    )
    parser.add_argument("--https-port", type=_port, default=443, metavar="PORT")
    parser.add_argument("--mqtt-port", type=_port, default=8883, metavar="PORT")
    parser.add_argument(
        "--registrations-per-minute",
        type=int,
        default=0,
        metavar="N",
        help="answer 429 beyond, to try out devices with it (default: no limit)",
    )
    kept = MessageSettings()
    parser.add_argument(
        "--keep-messages",
        type=_count,
        default=kept.keep_messages,
        metavar="N",
        help="how many messages of devices are kept; the oldest go (default: %(default)s)",
    )
    parser.add_argument(
        "--keep-bytes",
        type=_count,
        default=kept.keep_bytes,
        metavar="N",
        help="how many bytes of them are kept (default: %(default)s)",
    )


def _run(options: argparse.Namespace) -> int:
    log.setup("lab")
    settings = LabSettings(
        hosts=tuple(options.listen) or _hosts(options.host),
        https_port=options.https_port,
        mqtt_port=options.mqtt_port,
        names=tuple(options.host),
        dps=DpsSettings(registrations_per_minute=options.registrations_per_minute),
        messages=MessageSettings(options.keep_messages, options.keep_bytes),
    )
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with Lab(options.data, settings) as lab:
        root = options.data / ROOT_FILE
        facts = {
            "hub": lab.hub_name,
            "endpoint": lab.endpoint,
            "mqttPort": lab.mqtt_port,
            "idScope": lab.id_scope,
            "root": str(root.resolve()),
        }
        show(options, facts)
        sys.stdout.flush()
        data = f"--data {options.data}"
        sys.stderr.write(
            "\nnext steps\n"
            f"  skerry-lab enrollment create my-device {data}   # prints what config.toml needs\n"
            f"  skerry-lab device create my-device {data}       # or by connection string\n"
            f"  export REQUESTS_CA_BUNDLE={root.resolve()} SSL_CERT_FILE={root.resolve()}"
            "   # SDKs here\n"
            f"  sudo cp {root} {_TRUSTED} && sudo update-ca-certificates   # or the machine\n"
            f'  cp {root} … and trust_bundle_cert = "file:///…/ca.pem" in config.toml\n'
            "the lab runs until Ctrl-C\n"
        )
        stopped.wait()
    sys.stderr.write("the lab has stopped\n")
    return 0


def _hosts(names: list[str]) -> tuple[str, ...]:
    return LOOPBACK if all(map(_is_loopback, names)) else _EVERYWHERE


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, expected 0 (any) to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18 or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, expected 1 or more")
    return int(text)
