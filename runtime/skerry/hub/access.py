"""Who may connect to the hub, judged from the kept scope, so that it works without the cloud.

Source: azure-iot-edge.md §6.7. A token names the IoT hub or this gateway, is signed with a key of
the client (a module may show one that its device's key signed), and has not expired. A device, not
a module, may show a certificate instead: its thumbprint, or a chain to the trust bundle with its
name. Ids are compared as the scope has them.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from cryptography import x509

from skerry.base.clock import Clock
from skerry.heads import tokens
from skerry.heads.certificates import (
    CertificateError,
    check_time,
    proven_until,
    read_chain,
    thumbprints,
)
from skerry.heads.ports import Claim
from skerry.heads.tls import leaf_name
from skerry.hub.errors import AccessError
from skerry.hub.scope import Client, Proof, Scope
from skerry.wire import sas
from skerry.wire.identity import Identity


class Access:
    """Judges claims. `names` are the host names, lower case, that a client may have dialled."""

    def __init__(
        self,
        scope: Callable[[], Scope],
        names: frozenset[str],
        anchors: Callable[[], Sequence[x509.Certificate]],
        clock: Clock,
    ) -> None:
        self._scope = scope
        self._names = names
        self._anchors = anchors
        self._clock = clock

    def admit(self, claim: Claim) -> float:
        """Return when a client has to go: the end of its token or certificate, seconds since 1970.

        Raises: AccessError 401.
        """
        if claim.name.host.lower() not in self._names:
            raise _refused(f"the client looks for {claim.name.host!r}, which is not this hub")
        if claim.name.auth_chain:
            raise _refused("hubs below this hub are not served in this version")
        return self.judge(claim.identity, claim.token, claim.certificates)

    def judge(
        self, identity: Identity, token: str | None, certificates: tuple[bytes, ...]
    ) -> float:
        """Judge what a client shows, whatever name it dialled. Raises: AccessError 401."""
        scope = self._scope()
        client = scope.get(identity)
        if client is None:
            raise _refused(f"{identity} is not in the scope of this hub")
        if not scope.is_enabled(identity):
            raise _refused(f"{identity} is disabled")
        if token is None:
            return self._check_certificate(client, certificates)
        return self._check_token(scope, client, token)

    def _check_token(self, scope: Scope, client: Client, text: str) -> float:
        identity = client.identity
        device = scope.get(Identity(identity.device_id))
        signers = [one for one in (client, device) if one is not None and one.proof is Proof.SAS]
        try:
            token = sas.parse(text)
            if not any(map(self._is_for(identity), tokens.audiences(token))):
                raise _refused(f"the token is not for {identity} of this hub")
            keys = tuple(key for one in signers for key in one.keys)
            tokens.verify(token, keys, self._clock.now())
        except sas.SasError as error:
            raise _refused(f"{identity}: {error}") from error
        return token.expires

    def _is_for(self, identity: Identity) -> Callable[[str], bool]:
        device = f"devices/{identity.device_id}".lower()
        module = f"{device}/modules/{identity.module_id}".lower()
        paths = {device} if identity.module_id is None else {device, module}

        def check(audience: str) -> bool:
            host, _, path = audience.partition("/")
            return host in self._names and path in paths

        return check

    def _check_certificate(self, client: Client, shown: tuple[bytes, ...]) -> float:
        if not shown:
            raise _refused(f"{client.identity} shows neither token nor certificate")
        now = self._clock.now()
        try:
            chain = read_chain(shown)
            check_time(chain[0], now)
        except CertificateError as error:
            raise _refused(f"{client.identity}: {error}") from error
        until = None
        if client.identity.module_id is None:
            until = self._proven_until(client, chain, now)
        if until is None:
            raise _refused(f"the certificate is not one of {client.identity}")
        return until.timestamp()

    def _proven_until(
        self, client: Client, chain: Sequence[x509.Certificate], now: datetime
    ) -> datetime | None:
        leaf = chain[0]
        if client.proof is Proof.SELF_SIGNED:
            is_known = any(found in client.thumbprints for found in thumbprints(leaf))
            return leaf.not_valid_after_utc if is_known else None
        if client.proof is Proof.AUTHORITY and leaf_name(leaf) == client.identity.device_id:
            return proven_until(chain, self._anchors(), now)
        return None


def _refused(reason: str) -> AccessError:
    return AccessError(401, reason)
