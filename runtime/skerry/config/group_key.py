"""The key of an enrolment group: a device keeps only the key that is derived from it.

`group_key` is Skerry's own. Apply derives this device's key (HMAC-SHA256 over the registration id,
as the provisioning service does) and goes on as if `symmetric_key` with that value had been
written; the installed text has it in that place. So the key that could stand for every device of
the group is on none.
"""

import base64
from collections.abc import Mapping
from typing import Any

from skerry.config.connection import decode_key
from skerry.config.problems import KeyPath
from skerry.config.references import value_at
from skerry.wire.sas import device_key

GROUP_KEY: KeyPath = ("provisioning", "attestation", "group_key")
DEVICE_KEY: KeyPath = ("provisioning", "attestation", "symmetric_key", "value")


def derived_key(tables: Mapping[str, Any]) -> str | None:
    """Return the device's key in base64 where the tables, which fit the rules, name a group's."""
    group = value_at(tables, GROUP_KEY)
    if group is None:
        return None
    key = decode_key(group)
    if key is None:
        raise ValueError("the key is not base64")
    registration_id: str = value_at(tables, (*GROUP_KEY[:-1], "registration_id"))
    return base64.b64encode(device_key(key, registration_id)).decode()


def with_device_key(tables: dict[str, Any], key: str) -> dict[str, Any]:
    """Return tables that name the device's key instead of the group's."""
    provisioning = dict(tables["provisioning"])
    attestation = dict(provisioning["attestation"])
    del attestation["group_key"]
    attestation["symmetric_key"] = {"value": key}
    provisioning["attestation"] = attestation
    return {**tables, "provisioning": provisioning}
