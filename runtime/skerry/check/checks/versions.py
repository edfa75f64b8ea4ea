"""Versions: only against one that is named; an appliance asks no server which one is the newest."""

from skerry import __version__
from skerry.check.appliance import Appliance
from skerry.check.checks.names import parent_of
from skerry.check.model import Check, Finding, Section, ignored, ok, warning


def _identity(appliance: Appliance) -> Finding:
    return _compare(appliance)


def _edge(appliance: Appliance) -> Finding:
    if parent_of(appliance) is not None:
        return ignored("a device below a gateway is updated with it")
    return _compare(appliance)


def _compare(appliance: Appliance) -> Finding:
    wanted = appliance.options.expected_version
    if wanted is None:
        return ignored(f"Skerry {__version__}; name another with --expected-aziot-edged-version")
    if __version__.split(".")[:2] != wanted.split(".")[:2]:
        return warning(f"Skerry is {__version__}, expected {wanted}", "update the appliance")
    return ok(__version__)


CHECKS = (
    Check("aziot-version", Section.IDENTITY, "the identity services are as expected", _identity),
    Check(
        "aziot-edge-version",
        Section.EDGE,
        "edged is as expected",
        _edge,
        needs=("identityd-config-well-formed",),
    ),
)
