"""Who is asking the hub: a policy's token, a device's token or a device's certificate.

The signature is checked over `sr` as received; then the audience is decoded as often as SDKs
encode it and compared without regard to case, as identityd sends it in lower case.
"""

from collections.abc import Callable
from dataclasses import dataclass

from skerry.base.clock import Clock
from skerry.wire import sas
from skerry_lab import tokens
from skerry_lab.certificates import (
    CertificateError,
    check_time,
    find_anchor,
    read_chain,
    read_pem,
    thumbprints,
)
from skerry_lab.registry.errors import HubError, unauthorized
from skerry_lab.registry.model import AuthType, Device, Status
from skerry_lab.registry.policies import PolicyStore, Right
from skerry_lab.registry.service import Registry
from skerry_lab.routes import Request
from skerry_lab.tls import leaf_name


@dataclass(frozen=True)
class Caller:
    """A caller and what it may do; `device_id` is set for a device that speaks for itself."""

    name: str
    rights: frozenset[Right]
    device_id: str | None = None


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
        if "authorization" not in request.headers:
            return self._by_certificate(request, device_id)
        token = _token(request)
        if token.key_name:
            return _with_right(self._by_policy(token), right)
        return self._by_key(token, device_id)

    def _by_policy(self, token: sas.SasToken) -> Caller:
        policy = self._policies.get(token.key_name or "")
        if policy is None:
            raise unauthorized(f"policy {token.key_name!r} is not known, expected one of the hub's")
        self._verify(token, policy.keys)
        hosts = [text.partition("/")[0] for text in tokens.audiences(token)]
        if not any(map(self._is_own_name, hosts)):
            raise unauthorized(f"the token is for {hosts[-1]!r}, which is not this hub")
        return Caller(policy.name, policy.rights)

    def _by_key(self, token: sas.SasToken, device_id: str) -> Caller:
        meant = [text.partition("/")[::2] for text in tokens.audiences(token)]
        wanted = f"devices/{device_id}".lower()
        if not any(self._is_own_name(host) and path == wanted for host, path in meant):
            raise unauthorized(f"the token is not for device {device_id!r} of this hub")
        device = self._registry.device(device_id)
        if device.authentication.type is not AuthType.SAS:
            raise unauthorized(f"device {device_id!r} does not authenticate by key")
        self._verify(token, device.authentication.keys)
        return _as_device(device)

    def _by_certificate(self, request: Request, device_id: str) -> Caller:
        if not request.certificates:
            raise unauthorized("no Authorization header and no client certificate")
        device = self._registry.device(device_id)
        now = self._clock.now()
        try:
            chain = read_chain(request.certificates)
            check_time(chain[0], now)
            anchors = [read_pem(text) for text in self._registry.store.certificates()]
        except CertificateError as error:
            raise unauthorized(str(error)) from error
        auth = device.authentication
        if auth.type is AuthType.SELF_SIGNED:
            good = any(found in auth.thumbprints for found in thumbprints(chain[0]))
        elif auth.type is AuthType.CERTIFICATE_AUTHORITY:
            good = leaf_name(chain[0]) == device_id and find_anchor(chain, anchors, now) is not None
        else:
            good = False
        if not good:
            raise unauthorized(f"the certificate is not one of device {device_id!r}")
        return _as_device(device)

    def _verify(self, token: sas.SasToken, keys: tuple[bytes, ...]) -> None:
        try:
            tokens.verify(token, keys, self._clock.now())
        except sas.SasError as error:
            raise unauthorized(str(error)) from error


def _token(request: Request) -> sas.SasToken:
    header = request.headers.get("authorization")
    if header is None:
        raise unauthorized("no Authorization header")
    try:
        return sas.parse(header)
    except sas.SasError as error:
        raise unauthorized(str(error)) from error


def _as_device(device: Device) -> Caller:
    if device.status is Status.DISABLED:
        raise unauthorized(f"device {device.device_id!r} is disabled")
    return Caller(device.device_id, frozenset({Right.DEVICE_CONNECT}), device.device_id)


def _with_right(caller: Caller, right: Right) -> Caller:
    if right not in caller.rights:
        raise HubError(
            403, "Forbidden", f"policy {caller.name!r} does not have the right {right.value}"
        )
    return caller
