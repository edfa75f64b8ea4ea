"""`skerry-lab certificate`: authorities whose devices the hub lets in (`--auth-method x509_ca`)."""

import argparse
from pathlib import Path

from skerry_lab.certificates import read_pem
from skerry_lab.cloud import Cloud
from skerry_lab.errors import LabError
from skerry_lab.verbs._common import add_command, add_group, opened, read_text, show_list


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    commands = add_group(subparsers, "certificate", "authorities that the hub trusts")
    create = add_command(commands, "create", "trust an authority", _create)
    create.add_argument("name", metavar="NAME")
    create.add_argument("--path", "-p", type=Path, required=True, metavar="FILE", help="PEM")
    add_command(commands, "list", "list authorities", _list)
    delete = add_command(commands, "delete", "trust an authority no longer", _delete)
    delete.add_argument("name", metavar="NAME")


def _create(options: argparse.Namespace) -> int:
    pem = read_text(options.path)
    read_pem(pem)
    with opened(options) as store:
        store.do(lambda cloud: cloud.registry.store.put_certificate(options.name, pem))
    return 0


def _list(options: argparse.Namespace) -> int:
    with opened(options) as store:
        names = store.do(lambda cloud: cloud.registry.store.certificate_names())
    show_list(options, [{"name": name} for name in names], ("name",))
    return 0


def _delete(options: argparse.Namespace) -> int:
    def work(cloud: Cloud) -> None:
        if not cloud.registry.store.delete_certificate(options.name):
            raise LabError(
                f"no certificate {options.name!r}; `skerry-lab certificate list` shows all"
            )

    with opened(options) as store:
        store.do(work)
    return 0
