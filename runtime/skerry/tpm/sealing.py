"""Secrets that the TPM gives back only in the boot that they were sealed in.

A sealed secret is opaque to its owner, who keeps it; tpmd keeps nothing. It holds the values of the
PCRs too, which are no secret, so that a change can be named:

    "SKTPM1" ‖ u32 bits of the PCRs ‖ 32 bytes per PCR, in order ‖ TPM2B_PUBLIC ‖ TPM2B_PRIVATE
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.tpm.errors import ChangedError, RequestError, TroubleError
from skerry.wire.tpm import Attributes, HmacParameters, Public, Reader, TpmDataError, parse_public
from skerry.wire.tpm import sized as tpm2b

if TYPE_CHECKING:
    from skerry.tpm.device import Device, Loaded

MAX_SECRET_BYTES = 128
PCRS = 24
_MAGIC = b"SKTPM1"
_HASH_BYTES = 32
_SHA256 = 0x000B
_POLICY_PCR = 0x17F
_FOREIGN = "the secret was sealed by another TPM, or before this one was cleared"


@dataclass(frozen=True)
class Sealed:
    """A sealed secret taken apart; `values` by PCR, both areas with their size in front."""

    values: dict[int, bytes]
    public: bytes
    private: bytes

    def marshal(self) -> bytes:
        """Return the sealed secret as its owner keeps it."""
        bits = sum(1 << pcr for pcr in self.values)
        values = b"".join(self.values[pcr] for pcr in sorted(self.values))
        return _MAGIC + struct.pack(">I", bits) + values + self.public + self.private


def parse_sealed(data: bytes) -> Sealed:
    """Take a sealed secret apart. Raises: TpmDataError."""
    reader = Reader(data, "sealed secret")
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise TpmDataError("this is no secret sealed by tpmd")
    bits = reader.number(4)
    if not 0 < bits < 1 << PCRS:
        raise TpmDataError(f"sealed secret: PCRs are {bits:#x}, expected some of 0 to {PCRS - 1}")
    values = {pcr: reader.take(_HASH_BYTES) for pcr in range(PCRS) if bits >> pcr & 1}
    public = parse_public(tpm2b(reader.sized()), "public area of the sealed secret")
    private = tpm2b(reader.sized())
    reader.end()
    return Sealed(values, public.marshal(), private)


def check_pcrs(pcrs: Sequence[object]) -> tuple[int, ...]:
    """Return the numbers of PCRs in order, each once. Raises: RequestError."""
    found = {pcr for pcr in pcrs if isinstance(pcr, int) and 0 <= pcr < PCRS}
    if not pcrs or len(found) != len(pcrs):
        raise RequestError(f"pcrs are {list(pcrs)[:PCRS]!r}, expected different 0 to {PCRS - 1}")
    return tuple(sorted(found))


def seal(device: "Device", storage: "Loaded", data: bytes, pcrs: tuple[int, ...]) -> bytes:
    """Seal up to 128 bytes to the present values of some PCRs."""
    if not 1 <= len(data) <= MAX_SECRET_BYTES:
        raise RequestError(f"data has {len(data)} bytes, expected 1 to {MAX_SECRET_BYTES}")
    values = _read(device, pcrs)
    wanted = Attributes.FIXED_TPM | Attributes.FIXED_PARENT | Attributes.NO_DA
    template = Public(wanted, HmacParameters(fixed=False), b"", policy_digest(values))
    return Sealed(values, *device.seal(storage, template, data)).marshal()


def unseal(device: "Device", storage: "Loaded", sealed: Sealed) -> bytes:
    """Return a secret. Raises: ChangedError when a PCR differs, RequestError when foreign."""
    pcrs = tuple(sealed.values)
    loaded = device.load(storage, sealed.public, sealed.private, _FOREIGN)
    present = _read(device, pcrs)
    changed = tuple(pcr for pcr in pcrs if present[pcr] != sealed.values[pcr])
    data = None if changed else device.unseal(loaded, pcrs, storage)
    if data is None:
        names = ", ".join(map(str, changed)) or "not known which"
        raise ChangedError(
            f"the boot has changed since the secret was sealed (PCR {names}); boot what was booted "
            "then, or seal the secret anew",
            changed,
        )
    return data


def policy_digest(values: dict[int, bytes]) -> bytes:
    """Return the policy that PCRs have these values (TPM2_PolicyPCR)."""
    bits = sum(1 << pcr for pcr in values).to_bytes(PCRS // 8, "little")
    selection = struct.pack(">IHB", 1, _SHA256, PCRS // 8) + bits
    digest = hashlib.sha256(b"".join(values[pcr] for pcr in sorted(values))).digest()
    text = bytes(_HASH_BYTES) + struct.pack(">I", _POLICY_PCR) + selection + digest
    return hashlib.sha256(text).digest()


def _read(device: "Device", pcrs: tuple[int, ...]) -> dict[int, bytes]:
    values = {}
    for pcr in pcrs:
        value = device.read_pcr(pcr)
        if value is None:
            raise TroubleError("the TPM keeps no SHA-256 PCRs; switch that bank on in the firmware")
        values[pcr] = value
    return values
