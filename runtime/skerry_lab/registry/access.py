"""Who is asking the hub: a policy's token, a token or a certificate of a device or a module.

The signature is checked over `sr` as received; then the audience is decoded as often as SDKs
encode it and compared without regard to case, as identityd sends it in lower case. A module may
also show a token that its device's key has signed. An edge hub may speak for the modules of its
device and for what lies below it: it names the chain up to itself and shows its own token
(azure-iot-edge.md §6.7).
"""

from collections.abc import Callable
from dataclasses import dataclass

from skerry.base.clock import Clock
from skerry.heads import tokens
from skerry.heads.certificates import (
    CertificateError,
    check_time,
    proven_until,
    read_chain,
    read_pem,
    thumbprints,
)
from skerry.heads.routes import Request
from skerry.heads.tls import leaf_name
from skerry.wire import sas
from skerry.wire.identity import Identity
from skerry_lab.registry.errors import HubError, unauthorized
from skerry_lab.registry.hierarchy import Chain, parse_chain
from skerry_lab.registry.model import Authentication, AuthType, Status
from skerry_lab.registry.policies import PolicyStore, Right
from skerry_lab.registry.service import Registry


@dataclass(frozen=True)
class Caller:
    """A caller and what it may do; `device_id` is set for a device that speaks for itself."""

    name: str
    rights: frozenset[Right]
    device_id: str | None = None


@dataclass(frozen=True)
class Connected:
    """A client that may stay until its token or certificate ends, in seconds since 1970."""

    identity: Identity
    expires_at: float


class Access:
    """Checks credentials. `is_own_name` tells whether a host name is one of this hub's."""

    def __init__(
        self,
        registry: Registry,
        policies: PolicyStore,
        clock: Clock,
        is_own_name: Callable[[str], bool],
    ) -> None:
        self._registry = registry
        self._policies = policies
        self._clock = clock
        self._is_own_name = is_own_name

    def policy(self, request: Request, right: Right) -> Caller:
        """Return the policy that asks. Raises: HubError 401, 403."""
        return _with_right(self._by_policy(_token(request)), right)

    def policy_or_device(self, request: Request, right: Right, device_id: str) -> Caller:
        """Return the policy or the device of that id. Raises: HubError 401, 403, 404."""
        header = request.headers.get("authorization")
        if header is not None:
            token = _parsed(header)
            if token.key_name:
                return _with_right(self._by_policy(token), right)
        self._connected(Identity(device_id), header, request.certificates)
        return Caller(device_id, frozenset({Right.DEVICE_CONNECT}), device_id)

    def device(self, request: Request, identity: Identity) -> Connected:
        """Return the device or module that asks. Raises: HubError 401, 404."""
        header = request.headers.get("authorization")
        return self._connected(identity, header, request.certificates)

    def connect(
        self,
        identity: Identity,
        host: str,
        token: str | None,
        certificates: tuple[bytes, ...],
        chain: str = "",
    ) -> Connected:
        """Return the client of a connection that names `host` as its hub.

        With a `chain` the token is that of the edge hub at its end. Raises: HubError 401, 404.
        """
        if not self._is_own_name(host):
            raise unauthorized(f"the client looks for {host!r}, which is not this hub")
        if chain:
            return self._on_behalf(identity, token, parse_chain(chain))
        return self._connected(identity, token, certificates)

    def _on_behalf(self, identity: Identity, token: str | None, chain: Chain) -> Connected:
        if chain.target != identity:
            raise unauthorized(f"the auth chain is of {chain.target}, not of {identity}")
        if identity in (Identity(chain.actor.device_id), chain.actor):
            raise unauthorized(f"{_named(identity)} has to speak for itself")
        self._registry.hierarchy.check(chain)
        if identity.module_id is not None:
            self._registry.module(identity.device_id, identity.module_id)
        if token is None:
            raise unauthorized("an edge hub needs a token to speak for others")
        return Connected(identity, self._connected(chain.actor, token, ()).expires_at)

    def _connected(
        self, identity: Identity, token: str | None, certificates: tuple[bytes, ...]
    ) -> Connected:
        device = self._registry.device(identity.device_id)
        auth = device.authentication
        if identity.module_id is not None:
            auth = self._registry.module(identity.device_id, identity.module_id).authentication
        if device.status is Status.DISABLED:
            raise unauthorized(f"device {device.device_id!r} is disabled")
        if token is None:
            return Connected(identity, self._check_certificate(identity, auth, certificates))
        parsed = _parsed(token)
        if parsed.key_name:
            _with_right(self._by_policy(parsed), Right.DEVICE_CONNECT)
        else:
            self._check_key(identity, auth, device.authentication, parsed)
        return Connected(identity, parsed.expires)

    def _by_policy(self, token: sas.SasToken) -> Caller:
        policy = self._policies.get(token.key_name or "")
        if policy is None:
            raise unauthorized(f"policy {token.key_name!r} is not known, expected one of the hub's")
        self._verify(token, policy.keys)
        hosts = [text.partition("/")[0] for text in tokens.audiences(token)]
        if not any(map(self._is_own_name, hosts)):
            raise unauthorized(f"the token is for {hosts[-1]!r}, which is not this hub")
        return Caller(policy.name, policy.rights)

    def _check_key(
        self,
        identity: Identity,
        auth: Authentication,
        of_device: Authentication,
        token: sas.SasToken,
    ) -> None:
        meant = [text.partition("/")[::2] for text in tokens.audiences(token)]
        device = f"devices/{identity.device_id}".lower()
        own = device if identity.module_id is None else f"{device}/modules/{identity.module_id}"
        wanted = {device, own.lower()}
        if not any(self._is_own_name(host) and path in wanted for host, path in meant):
            raise unauthorized(f"the token is not for {_named(identity)} of this hub")
        signers = [one for one in (auth, of_device) if one.type is AuthType.SAS]
        if not signers:
            raise unauthorized(f"{_named(identity)} does not authenticate by key")
        self._verify(token, tuple(key for one in signers for key in one.keys))

    def _check_certificate(
        self, identity: Identity, auth: Authentication, shown: tuple[bytes, ...]
    ) -> float:
        """Return when the proof ends, in seconds since 1970."""
        if not shown:
            raise unauthorized("no token and no client certificate")
        now = self._clock.now()
        try:
            chain = read_chain(shown)
            check_time(chain[0], now)
            anchors = [read_pem(text) for text in self._registry.store.certificates()]
        except CertificateError as error:
            raise unauthorized(str(error)) from error
        leaf, until = chain[0], None
        if auth.type is AuthType.SELF_SIGNED:
            is_known = any(found in auth.thumbprints for found in thumbprints(leaf))
            until = leaf.not_valid_after_utc if is_known else None
        elif auth.type is AuthType.CERTIFICATE_AUTHORITY and leaf_name(leaf) == str(identity):
            until = proven_until(chain, anchors, now)
        if until is None:
            raise unauthorized(f"the certificate is not one of {_named(identity)}")
        return until.timestamp()

    def _verify(self, token: sas.SasToken, keys: tuple[bytes, ...]) -> None:
        try:
            tokens.verify(token, keys, self._clock.now())
        except sas.SasError as error:
            raise unauthorized(str(error)) from error


def _named(identity: Identity) -> str:
    return f"{'device' if identity.module_id is None else 'module'} {str(identity)!r}"


def _token(request: Request) -> sas.SasToken:
    header = request.headers.get("authorization")
    if header is None:
        raise unauthorized("no Authorization header")
    return _parsed(header)


def _parsed(text: str) -> sas.SasToken:
    try:
        return sas.parse(text)
    except sas.SasError as error:
        raise unauthorized(str(error)) from error


def _with_right(caller: Caller, right: Right) -> Caller:
    if right not in caller.rights:
        raise HubError(
            403, "Forbidden", f"policy {caller.name!r} does not have the right {right.value}"
        )
    return caller
