"""Faults for a booted appliance: how each is planted, undone, and what `skerry check` calls it.

What is planted here is what goes wrong at customers: units, rights, files, certificates, settings,
clock, disks, network, engine, modules.
"""

from harness.faults.machine import MACHINE
from harness.faults.model import Fault, material, named, planted
from harness.faults.modules import MODULES
from harness.faults.network import NETWORK
from harness.faults.secrets import SECRETS
from harness.faults.settings import SETTINGS
from harness.faults.units import UNITS

__all__ = ["FAULTS", "Fault", "material", "named", "planted"]

FAULTS: tuple[Fault, ...] = (*UNITS, *SETTINGS, *SECRETS, *NETWORK, *MACHINE, *MODULES)
