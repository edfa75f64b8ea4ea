"""`skerry-lab certificate`: authorities whose devices the hub lets in (`--auth-method x509_ca`).

With `--verified false` an authority counts only when somebody has shown that the key is theirs:
`generate-verification-code`, sign a certificate for that name, `verify`.
"""

import argparse
from pathlib import Path

from skerry.heads.certificates import read_pem
from skerry_lab.cloud import Cloud
from skerry_lab.registry.authorities import ANY, Authority
from skerry_lab.verbs._common import (
    add_command,
    add_group,
    opened,
    read_text,
    show,
    show_list,
    switch,
)

_COLUMNS = ("name", "subject", "expiry", "isVerified")


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    commands = add_group(subparsers, "certificate", "authorities that the hub trusts")
    create = add_command(commands, "create", "bring an authority", _create)
    create.add_argument("--verified", "-v", type=switch, default=True, metavar="true|false")
    add_command(commands, "list", "list authorities", _list)
    shown = add_command(commands, "show", "show an authority", _show)
    delete = add_command(commands, "delete", "trust an authority no longer", _delete)
    code = add_command(
        commands, "generate-verification-code", "get the name for a proof", _new_code
    )
    verify = add_command(commands, "verify", "show the proof that the key is yours", _verify)
    for parser in (create, shown, delete, code, verify):
        parser.add_argument("name", metavar="NAME")
    for parser in (create, verify):
        parser.add_argument("--path", "-p", type=Path, required=True, metavar="FILE", help="PEM")
    for parser in (delete, code, verify):
        parser.add_argument("--etag", "-e", default=ANY, help="only this version")


def _create(options: argparse.Namespace) -> int:
    pem = read_text(options.path)
    read_pem(pem)
    with opened(options) as store:
        store.do(lambda cloud: cloud.authorities.put(options.name, pem, verified=options.verified))
    return 0


def _list(options: argparse.Namespace) -> int:
    with opened(options) as store:
        found = store.do(lambda cloud: cloud.authorities.all())
    show_list(options, [_facts(one) for one in found], _COLUMNS)
    return 0


def _show(options: argparse.Namespace) -> int:
    with opened(options) as store:
        show(options, _facts(store.do(lambda cloud: cloud.authorities.get(options.name))))
    return 0


def _delete(options: argparse.Namespace) -> int:
    with opened(options) as store:
        store.do(lambda cloud: cloud.authorities.delete(options.name, options.etag))
    return 0


def _new_code(options: argparse.Namespace) -> int:
    with opened(options) as store:
        one = store.do(lambda cloud: cloud.authorities.new_code(options.name, options.etag))
    show(options, {**_facts(one), "verificationCode": one.code})
    return 0


def _verify(options: argparse.Namespace) -> int:
    proof = read_text(options.path)

    def work(cloud: Cloud) -> Authority:
        return cloud.authorities.verify(options.name, proof, options.etag)

    with opened(options) as store:
        show(options, _facts(store.do(work)))
    return 0


def _facts(one: Authority) -> dict[str, object]:
    whole = one.properties()
    names = ("subject", "expiry", "thumbprint", "isVerified")
    return {"name": one.name, "etag": one.etag, **{name: whole[name] for name in names}}
