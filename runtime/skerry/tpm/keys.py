"""The keys of the TPM: endorsement key, storage root key, authentication key.

Invariants
- Endorsement and storage root key are made and kept where there is none; a key that another
  program keeps at their places is never touched.
- An import leaves the old authentication key or the new one, wherever it is cut short. The TPM
  cannot exchange a persistent key in one step, so the new key is first loaded and tried, then kept
  in a file (wrapped by the storage root key: nothing but this TPM can use it), and only then is the
  old one evicted and the new one made persistent. Who finds the file does the rest.

    <state>/auth-key.pending     TPM2B_PUBLIC ‖ TPM2B_PRIVATE, only while an import is under way
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from skerry.base.files import read_limited, remove, state_folder, write_atomic
from skerry.base.log import Logger
from skerry.tpm.errors import RequestError, TroubleError
from skerry.tpm.model import ENDORSEMENT_HANDLE, Settings
from skerry.wire.tpm import (
    ENDORSEMENT_TEMPLATE,
    MAX_BYTES,
    STORAGE_TEMPLATE,
    ImportBlob,
    Kind,
    Public,
    Reader,
    TpmDataError,
    parse_public,
    sized,
)

if TYPE_CHECKING:
    from skerry.tpm.device import Device, Loaded

MAX_SIGNED_BYTES = 1024
_PENDING = "auth-key.pending"
_STALE = "the key belongs to a TPM that was cleared since"


class Open(Protocol):
    """Opens the TPM for one request; raises TpmError."""

    def __call__(self) -> "Device": ...


class TpmKeys:
    """Keeps and uses the keys of one TPM."""

    def __init__(self, settings: Settings, state_dir: Path, log: Logger) -> None:
        self._settings = settings
        self._pending = state_folder(state_dir) / _PENDING
        self._log = log

    def public_keys(self, device: "Device") -> tuple[bytes, bytes]:
        """Return endorsement and storage root key as TPM2B_PUBLIC."""
        return self._endorsement(device)[1], self.storage(device)[1]

    def storage(self, device: "Device") -> "tuple[Loaded, bytes]":
        """Return the storage root key; it is made if there is none."""
        usual, other = self._settings.storage_handles
        found = device.persistent(usual)
        if found is not None and not _made_by(found[1], STORAGE_TEMPLATE):
            self._log.debug("storage root key of another kind; ours lies elsewhere", handle=other)
            usual = other
        return self._at(device, usual, STORAGE_TEMPLATE, "owner", "storage root key")

    def import_auth_key(self, device: "Device", blob: ImportBlob) -> None:
        """Unwrap a key made for this TPM and keep it in place of the one before."""
        self._settle(device)
        self._auth_key(device)
        new, private = self._unwrapped(device, blob)
        device.hmac(new, b"")
        write_atomic(self._pending, blob.public.marshal() + private, mode=0o600)
        self._exchange(device, new)
        self._log.info("authentication key imported", handle=f"{self._settings.auth_handle:#x}")

    def sign_once(self, device: "Device", blob: ImportBlob, data: bytes) -> bytes:
        """Return HMAC-SHA256 under a key made for this TPM, which is not kept."""
        _check_size(data)
        return device.hmac(self._unwrapped(device, blob)[0], data)

    def sign(self, device: "Device", data: bytes) -> bytes:
        """Return HMAC-SHA256 under the authentication key."""
        _check_size(data)
        self._settle(device)
        found = self._auth_key(device)
        if found is None:
            raise RequestError("no authentication key was imported yet; provision the device")
        return device.hmac(found[0], data)

    def _unwrapped(self, device: "Device", blob: ImportBlob) -> "tuple[Loaded, bytes]":
        """Load a key made for this TPM; also its private part, wrapped by the storage root key."""
        endorsement, _ = self._endorsement(device)
        storage, _ = self.storage(device)
        private = device.unwrap(blob, endorsement, storage)
        return device.load(storage, blob.public.marshal(), private, _STALE), private

    def _settle(self, device: "Device") -> None:
        """Do the rest of an import that was cut short."""
        try:
            data = read_limited(self._pending, MAX_BYTES)
        except FileNotFoundError:
            return
        try:
            public, private = _parse_pending(data)
            new = device.load(self.storage(device)[0], public.marshal(), private, _STALE)
        except (TpmDataError, RequestError) as error:
            self._log.warning("an import that was cut short cannot be ended", reason=error)
            remove(self._pending)
            return
        found = self._auth_key(device)
        if found is not None and found[1] == public.marshal():
            remove(self._pending)
            return
        self._exchange(device, new)
        self._log.info("an import that was cut short is ended")

    def _exchange(self, device: "Device", new: "Loaded") -> None:
        found = self._auth_key(device)
        if found is not None:
            device.persist(found[0], self._settings.auth_handle)
        device.persist(new, self._settings.auth_handle)
        remove(self._pending)

    def _auth_key(self, device: "Device") -> "tuple[Loaded, bytes] | None":
        """Return the key at the place of the authentication key; TroubleError if it is foreign."""
        handle = self._settings.auth_handle
        found = device.persistent(handle)
        if found is None or _is(found[1], lambda public: public.kind is Kind.KEYEDHASH):
            return found
        raise TroubleError(
            f"handle {handle:#x} of the TPM holds a key of another program; choose a free one as "
            "[tpm] auth_key_index"
        )

    def _endorsement(self, device: "Device") -> "tuple[Loaded, bytes]":
        device.require("endorsement")
        return self._at(
            device, ENDORSEMENT_HANDLE, ENDORSEMENT_TEMPLATE, "endorsement", "endorsement key"
        )

    def _at(
        self, device: "Device", handle: int, template: Public, hierarchy: str, what: str
    ) -> "tuple[Loaded, bytes]":
        found = device.persistent(handle)
        if found is None:
            device.persist(device.make_primary(template, hierarchy), handle)
            self._log.info("key made in the TPM", key=what, handle=f"{handle:#x}")
            found = device.persistent(handle)
        if found is None or not _made_by(found[1], template):
            raise TroubleError(
                f"handle {handle:#x} of the TPM holds something else than the {what} of RSA 2048; "
                f"if nothing needs it, free it with `tpm2_evictcontrol -c {handle:#x}`"
            )
        return found


def _check_size(data: bytes) -> None:
    if len(data) > MAX_SIGNED_BYTES:
        raise RequestError(
            f"data has {len(data)} bytes, expected at most {MAX_SIGNED_BYTES}: that is what a "
            "TPM signs at once"
        )


def _made_by(data: bytes, template: Public) -> bool:
    return _is(data, lambda public: public.made_by(template))


def _is(data: bytes, test: Callable[[Public], bool]) -> bool:
    try:
        return test(parse_public(data))
    except TpmDataError:
        return False


def _parse_pending(data: bytes) -> tuple[Public, bytes]:
    reader = Reader(data, "pending authentication key")
    public = parse_public(sized(reader.sized()))
    private = sized(reader.sized())
    reader.end()
    return public, private
