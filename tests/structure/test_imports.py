"""The import rule: which part of Skerry may know which."""

from pathlib import Path

import pytest

from harness.imports import Import, all_imports, imports_of

NATIVE = {"keys", "tpm", "certs", "identity", "provisioning", "engine", "workloads"}
APPLICATION = {"agent", "hub", "gateway"}

MAY_IMPORT: dict[str, set[str]] = {
    "base": set(),
    "wire": {"base"},
    "heads": {"base", "wire"},
    "module": {"base", "wire"},
    "keys": {"base", "wire"},
    "tpm": {"base", "wire"},
    "certs": {"base", "wire", "keys", "tpm"},
    "provisioning": {"base", "wire", "keys", "tpm", "certs"},
    "identity": {"base", "wire", "keys", "tpm", "certs", "provisioning"},
    "engine": {"base", "wire"},
    "workloads": {"base", "wire", "engine"},
    "config": {"base", "wire"},
    "agent": {"base", "wire", "module"},
    "hub": {"base", "wire", "heads", "module"},
    "gateway": {"base", "wire"},
    "host": {"base", "wire", "config"},
    "check": NATIVE | APPLICATION | {"base", "wire", "config", "host"},
    "bundle": NATIVE | {"base", "wire", "config", "check"},
    "cli": NATIVE | APPLICATION | {"base", "wire", "config", "check", "bundle", "host"},
}
"""Domain of `skerry` -> the other domains that its modules may import whole."""

MAY_USE_CLIENTS = {"workloads", "agent", "hub", "gateway"}
"""Domains that talk to services of domains they must not import: only through `<domain>.client`."""

PURE_PARTS = {"certs.x509", "certs.remote_key", "certs.renewal", "certs.pair"}
"""Parts without a service behind them that edged shares with identityd: requests, keys in keyd."""

OTHER_PACKAGES = {
    "skerry_lab": {"wire", "base", "heads"},
    # the package's man pages and completion are made from the command line itself
    "skerry_factory": {"config", "wire", "base", "cli"},
}

FACTORY_PARTS = {"keys.token", "keys.pkcs11_uri"}
"""What the factory has from keyd: the key that signs an image may be in a token."""


def broken_rule(found: Import) -> str | None:
    """Why this import is against the rule; None when it is not."""
    package, _, rest = found.source.partition(".")
    target_package, _, target = found.target.partition(".")
    domain, target_domain = rest.partition(".")[0], target.partition(".")[0]
    if not target_package.startswith("skerry") or target_domain in {"", "__version__"}:
        return None
    if package != "skerry":
        if target_package == package:
            return None
        if package == "skerry_factory" and any(target.startswith(part) for part in FACTORY_PARTS):
            return None
        allowed = target_package == "skerry" and target_domain in OTHER_PACKAGES[package]
        return None if allowed else f"{package} may import {sorted(OTHER_PACKAGES[package])} only"
    if target_package != "skerry":
        return "the device package imports nothing of factory or lab"
    if target_domain == domain:
        return None
    if domain not in MAY_IMPORT:
        return f"the domain {domain!r} is not in MAY_IMPORT"
    if target_domain in MAY_IMPORT[domain]:
        return None
    client = target.split(".")[1:2] == ["client"] and target_domain in NATIVE
    if client and domain in MAY_USE_CLIENTS:
        return None
    if domain == "workloads" and any(target.startswith(part) for part in PURE_PARTS):
        return None
    return f"{domain} may import {sorted(MAY_IMPORT[domain])} only"


def test_nothing_imports_what_it_must_not() -> None:
    """Every import of every module follows the import rule."""
    broken = {
        f"{found.source}:{found.line} imports {found.target}": why
        for found in all_imports()
        if (why := broken_rule(found)) is not None
    }
    assert broken == {}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("skerry.base.files", "skerry.wire.sas"),
        ("skerry.keys.service", "skerry.certs.client"),
        ("skerry.agent.reconcile", "skerry.workloads.model"),
        ("skerry.agent.reconcile", "skerry.hub.client"),
        ("skerry.workloads.service", "skerry.keys.store"),
        ("skerry.check.run", "skerry.cli.main"),
        ("skerry.identity.service", "skerry_factory.build"),
        ("skerry_factory.build", "skerry.keys.model"),
        ("skerry_lab.hub", "skerry.config.load"),
    ],
)
def test_a_forbidden_import_is_named(source: str, target: str) -> None:
    """The rule refuses imports against the arrows."""
    assert broken_rule(Import(source, target, 1)) is not None


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("skerry.certs.service", "skerry.keys.client.KeysClient"),
        ("skerry.agent.main", "skerry.workloads.client"),
        ("skerry.workloads.service", "skerry.identity.client"),
        ("skerry.cli.main", "skerry.config.apply"),
        ("skerry_factory.stamp", "skerry.config.load"),
        ("skerry.hub.broker", "json"),
    ],
)
def test_an_allowed_import_passes(source: str, target: str) -> None:
    """The rule lets imports along the arrows and through clients pass."""
    assert broken_rule(Import(source, target, 1)) is None


def test_imports_are_found_in_every_form(tmp_path: Path) -> None:
    """Plain, from, relative and nested imports are all seen with their full names."""
    module = tmp_path / "skerry/keys/service.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "import skerry.hub\nfrom ..wire import sas\nfrom . import store\n"
        "def late():\n    from skerry.agent import main\n"
    )
    found = {found.target for found in imports_of(module, tmp_path)}
    assert found == {"skerry.hub", "skerry.wire.sas", "skerry.keys.store", "skerry.agent.main"}
