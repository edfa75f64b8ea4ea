"""The TPM's commands that tpmd needs, as methods; what the TPM refuses is an error with a message.

One Device lives for one request. What it loads into the TPM (keys, sessions) it takes out again at
its end, also when the request failed: not every TPM has a resource manager in front.
Objects in the TPM are ESYS_TR numbers (`Loaded`).
"""

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from tpm2_pytss import ESAPI, TSS2_Exception
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_CAP, TPM2_SE, TPMA_SESSION
from tpm2_pytss.types import (
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPM2B_SENSITIVE_DATA,
    TPML_PCR_SELECTION,
    TPMS_SENSITIVE_CREATE,
    TPMT_SYM_DEF,
    TPMT_SYM_DEF_OBJECT,
    TPMU_SYM_KEY_BITS,
    TPMU_SYM_MODE,
)

from skerry.tpm.model import Settings
from skerry.tpm.trouble import State, explain
from skerry.wire.tpm import ImportBlob, Public

Loaded = Any
_HIERARCHIES = {"owner": ESYS_TR.OWNER, "endorsement": ESYS_TR.ENDORSEMENT}
_PT_PERMANENT = 0x200
_BITS = 128
_FOREIGN = (
    "the authentication key was made for another TPM, or for keys that this one no longer has; "
    "compare the enrolment with `skerry tpm show`"
)


class Device:
    """A TPM that is open; a context manager."""

    def __init__(self, esapi: ESAPI, settings: Settings) -> None:
        self._esapi = esapi
        self._settings = settings
        self._inside: list[Loaded] = []
        self._state = State()

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self._esapi.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for loaded in reversed(self._inside):
            with contextlib.suppress(TSS2_Exception):
                self._esapi.flush_context(loaded)
        self._esapi.close()

    def _begin(self) -> None:
        with self._asked("asking the TPM how it is"):
            _, found = self._esapi.get_capability(TPM2_CAP.TPM_PROPERTIES, _PT_PERMANENT, 2)
            values = {int(p.property): int(p.value) for p in found.data.tpmProperties}
        self._state = State(values.get(_PT_PERMANENT, 0), values.get(_PT_PERMANENT + 1, 0))
        self._state.require("owner")
        for name, hierarchy in _HIERARCHIES.items():
            self._esapi.tr_set_auth(hierarchy, self._password(name))

    def require(self, hierarchy: str) -> None:
        """Raise TroubleError when a hierarchy is disabled."""
        self._state.require(hierarchy)

    def persistent(self, handle: int) -> tuple[Loaded, bytes] | None:
        """Return the key at a persistent handle and its TPM2B_PUBLIC; None if there is none."""
        with self._asked(f"reading the key at {handle:#x}"):
            _, found = self._esapi.get_capability(TPM2_CAP.HANDLES, handle, 1)
            if handle not in [int(one) for one in found.data.handles]:
                return None
            loaded = self._esapi.tr_from_tpmpublic(handle)
            public, _, _ = self._esapi.read_public(loaded)
            return loaded, bytes(public.marshal())

    def make_primary(self, template: Public, hierarchy: str) -> Loaded:
        """Make the primary key of a template: the same one each time until the TPM is cleared."""
        with self._asked(f"making a key of the {hierarchy} hierarchy", hierarchy=hierarchy):
            made = self._esapi.create_primary(
                in_sensitive=TPM2B_SENSITIVE_CREATE(),
                in_public=_public(template.marshal()),
                primary_handle=_HIERARCHIES[hierarchy],
            )
            return self._keep(made[0])

    def persist(self, loaded: Loaded, handle: int) -> None:
        """Keep a loaded key, or with a persistent one forget it, at its persistent handle."""
        with self._asked(f"changing the key at {handle:#x}", hierarchy="owner"):
            self._esapi.evict_control(
                auth=ESYS_TR.OWNER, object_handle=loaded, persistent_handle=handle
            )

    def unwrap(self, blob: ImportBlob, endorsement: Loaded, storage: Loaded) -> bytes:
        """Unwrap a key made for this TPM; returns its TPM2B_PRIVATE under the storage key."""
        session = self._policy_session()
        with self._asked("proving the endorsement key", hierarchy="endorsement"):
            self._esapi.policy_secret(
                auth_handle=ESYS_TR.ENDORSEMENT,
                policy_session=session,
                nonce_tpm=b"",
                cp_hash_a=b"",
                policy_ref=b"",
                expiration=0,
            )
        with self._asked("activating the credential", wrong=_FOREIGN):
            inner = self._esapi.activate_credential(
                activate_handle=storage,
                key_handle=endorsement,
                credential_blob=TPM2B_ID_OBJECT(blob.credential),
                secret=TPM2B_ENCRYPTED_SECRET(blob.secret),
                session1=ESYS_TR.PASSWORD,
                session2=session,
            )
        with self._asked("importing the authentication key", wrong=_FOREIGN):
            private = self._esapi.import_(
                parent_handle=storage,
                encryption_key=bytes(inner),
                object_public=_public(blob.public.marshal()),
                duplicate=TPM2B_PRIVATE(blob.duplicate),
                in_sym_seed=TPM2B_ENCRYPTED_SECRET(blob.seed),
                symmetric_alg=_aes(TPMT_SYM_DEF_OBJECT),
            )
            return bytes(private.marshal())

    def load(self, storage: Loaded, public: bytes, private: bytes, wrong: str) -> Loaded:
        """Load a key by its TPM2B_PUBLIC and TPM2B_PRIVATE; RequestError(`wrong`) if foreign."""
        with self._asked("loading a key", wrong=wrong):
            loaded = self._esapi.load(
                parent_handle=storage, in_private=_private(private), in_public=_public(public)
            )
            return self._keep(loaded)

    def hmac(self, loaded: Loaded, data: bytes) -> bytes:
        """Return HMAC-SHA256 of up to 1024 bytes."""
        with self._asked("signing", wrong="the authentication key is not one for HMAC-SHA256"):
            digest = self._esapi.hmac(handle=loaded, buffer=data, hash_alg=TPM2_ALG.SHA256)
            return bytes(digest)

    def read_pcr(self, pcr: int) -> bytes | None:
        """Return the SHA-256 value of a PCR; None where the TPM keeps none of that hash."""
        with self._asked("reading the PCRs"):
            _, _, digests = self._esapi.pcr_read(_pcrs((pcr,)))
            return bytes(digests[0]) if len(digests) else None

    def seal(self, storage: Loaded, public: Public, data: bytes) -> tuple[bytes, bytes]:
        """Return TPM2B_PUBLIC and TPM2B_PRIVATE of an object that holds `data`."""
        session = self._private_session(storage)
        with self._asked("sealing"):
            private, made, _, _, _ = self._esapi.create(
                parent_handle=storage,
                in_sensitive=TPM2B_SENSITIVE_CREATE(
                    TPMS_SENSITIVE_CREATE(data=TPM2B_SENSITIVE_DATA(data))
                ),
                in_public=_public(public.marshal()),
                outside_info=b"",
                creation_pcr=TPML_PCR_SELECTION(),
                session2=session,
            )
            return bytes(made.marshal()), bytes(private.marshal())

    def unseal(self, loaded: Loaded, pcrs: tuple[int, ...], storage: Loaded) -> bytes | None:
        """Return what an object holds; None when the PCRs are not what it was sealed to."""
        session = self._policy_session()
        private = self._private_session(storage)
        with self._asked("unsealing"):
            self._esapi.policy_pcr(policy_session=session, pcr_digest=b"", pcrs=_pcrs(pcrs))
            try:
                return bytes(self._esapi.unseal(loaded, session1=session, session2=private))
            except TSS2_Exception as error:
                if error.error in _POLICY_CODES:
                    return None
                raise

    def _policy_session(self) -> Any:
        with self._asked("opening a session"):
            session = self._esapi.start_auth_session(
                tpm_key=ESYS_TR.NONE,
                bind=ESYS_TR.NONE,
                session_type=TPM2_SE.POLICY,
                symmetric=TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL),
                auth_hash=TPM2_ALG.SHA256,
            )
            return self._keep(session)

    def _private_session(self, storage: Loaded) -> Any:
        """Open a session that encrypts what travels between processor and TPM."""
        with self._asked("opening a session"):
            session = self._esapi.start_auth_session(
                tpm_key=storage,
                bind=ESYS_TR.NONE,
                session_type=TPM2_SE.HMAC,
                symmetric=_aes(TPMT_SYM_DEF),
                auth_hash=TPM2_ALG.SHA256,
            )
            self._keep(session)
            wanted = TPMA_SESSION.ENCRYPT | TPMA_SESSION.DECRYPT | TPMA_SESSION.CONTINUESESSION
            self._esapi.trsess_set_attributes(session, wanted)
            return session

    def _keep(self, loaded: Any) -> Any:
        self._inside.append(loaded)
        return loaded

    def _password(self, hierarchy: str) -> bytes:
        secret = getattr(self._settings, hierarchy)
        return bytes(secret.reveal().encode())

    @contextlib.contextmanager
    def _asked(
        self, doing: str, *, wrong: str | None = None, hierarchy: str | None = None
    ) -> Iterator[None]:
        try:
            yield
        except TSS2_Exception as error:
            given = hierarchy is not None and bool(self._password(hierarchy))
            raise explain(
                int(error.rc),
                doing,
                wrong=wrong,
                hierarchy=hierarchy,
                given=given,
                state=self._state,
            ) from error


_POLICY_CODES = (0x9D, 0xA4, 0x126, 0x128)
"""TPM_RC_POLICY_FAIL, _POLICY_CC, _POLICY, _PCR_CHANGED."""


def _public(data: bytes) -> Any:
    return TPM2B_PUBLIC.unmarshal(data)[0]


def _private(data: bytes) -> Any:
    return TPM2B_PRIVATE.unmarshal(data)[0]


def _pcrs(pcrs: tuple[int, ...]) -> Any:
    return TPML_PCR_SELECTION.parse("sha256:" + ",".join(map(str, pcrs)))


def _aes(kind: Any) -> Any:
    return kind(
        algorithm=TPM2_ALG.AES,
        keyBits=TPMU_SYM_KEY_BITS(aes=_BITS),
        mode=TPMU_SYM_MODE(aes=TPM2_ALG.CFB),
    )
