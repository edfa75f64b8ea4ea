"""Who may connect: devices and modules by key, by policy, by certificate; and who may not."""

import re
from dataclasses import replace
from urllib.parse import quote

import pytest

from harness.lab import Hosted, make_token, signed
from skerry.heads.certificates import thumbprints
from skerry.wire.identity import Identity
from skerry_lab.registry.access import Connected
from skerry_lab.registry.errors import HubError
from skerry_lab.registry.model import Authentication, AuthType, Status

DEVICE, MODULE = Identity("Edge1"), Identity("Edge1", "$edgeAgent")
HOST = "localhost"


class Site:
    """A lab with an edge device."""

    def __init__(self, hosted: Hosted) -> None:
        self.hosted = hosted
        self.device = hosted.registry.create_device("Edge1")

    @property
    def now(self) -> float:
        return self.hosted.clock.now().timestamp()

    def key(self, identity: Identity, second: bool = False) -> bytes:
        auth = self.device.authentication
        if identity.module_id is not None:
            auth = self.hosted.registry.modules("Edge1")[0].authentication
        return auth.keys[int(second)]

    def connect(
        self,
        identity: Identity,
        token: str | None,
        certificates: tuple[bytes, ...] = (),
        host: str = HOST,
    ) -> Connected:
        return self.hosted.store.do(
            lambda cloud: cloud.access.connect(identity, host, token, certificates)
        )

    def token(self, audience: str, key: bytes, seconds: float = 60, name: str | None = None) -> str:
        return make_token(audience, key, self.now + seconds, name)


@pytest.fixture
def site(hosted: Hosted) -> Site:
    return Site(hosted)


DEVICE_AUDIENCE = f"{HOST}/devices/Edge1"
MODULE_AUDIENCE = f"{DEVICE_AUDIENCE}/modules/$edgeAgent"


@pytest.mark.parametrize(
    ("identity", "audience", "of", "second"),
    [
        (DEVICE, DEVICE_AUDIENCE, DEVICE, False),
        (DEVICE, DEVICE_AUDIENCE, DEVICE, True),
        (DEVICE, quote(DEVICE_AUDIENCE, safe=""), DEVICE, False),
        (DEVICE, DEVICE_AUDIENCE.upper(), DEVICE, False),
        (MODULE, MODULE_AUDIENCE, MODULE, False),
        (MODULE, f"{DEVICE_AUDIENCE}/modules/%24edgeAgent", MODULE, False),
        (MODULE, quote(f"{DEVICE_AUDIENCE}/modules/%24edgeAgent", safe=""), MODULE, True),
        (MODULE, MODULE_AUDIENCE, DEVICE, False),
    ],
    ids=[
        "device",
        "second key",
        "encoded",
        "other case",
        "module",
        "encoded id",
        "twice",
        "of device",
    ],
)
def test_tokens_of_all_sdks_are_taken(
    site: Site, identity: Identity, audience: str, of: Identity, second: bool
) -> None:
    """Until they expire; the signature counts over the audience as it was sent."""
    token = site.token(audience, site.key(of, second))
    assert site.connect(identity, token) == Connected(identity, int(site.now + 60))


def test_a_policy_may_connect_for_a_device(site: Site) -> None:
    """If it has the right."""
    policies = site.hosted.store.do(lambda cloud: list(cloud.policies.all()))
    for policy in policies:
        token = site.token(HOST, policy.keys[0], name=policy.name)
        if "DeviceConnect" in {right.value for right in policy.rights}:
            assert site.connect(MODULE, token).identity == MODULE
        else:
            with pytest.raises(HubError, match="does not have the right DeviceConnect"):
                site.connect(MODULE, token)


@pytest.mark.parametrize(
    ("identity", "audience", "seconds", "problem"),
    [
        (DEVICE, DEVICE_AUDIENCE, -1, "expired"),
        (DEVICE, f"{HOST}/devices/other", 60, "not for device 'Edge1'"),
        (DEVICE, MODULE_AUDIENCE, 60, "not for device 'Edge1'"),
        (DEVICE, "elsewhere/devices/Edge1", 60, "not for device 'Edge1'"),
        (MODULE, f"{DEVICE_AUDIENCE}/modules/$edgeHub", 60, "not for module 'Edge1/$edgeAgent'"),
    ],
)
def test_tokens_for_others_are_refused(
    site: Site, identity: Identity, audience: str, seconds: float, problem: str
) -> None:
    """With what they are for."""
    with pytest.raises(HubError, match=re.escape(problem)) as caught:
        site.connect(identity, site.token(audience, site.key(DEVICE), seconds))
    assert caught.value.status == 401


def test_another_key_is_refused(site: Site) -> None:
    """A module's key is not its device's."""
    with pytest.raises(HubError, match="signature does not match"):
        site.connect(DEVICE, site.token(DEVICE_AUDIENCE, site.key(MODULE)))


@pytest.mark.parametrize(
    ("identity", "code"),
    [(Identity("none"), "DeviceNotFound"), (Identity("Edge1", "none"), "ModuleNotFound")],
)
def test_who_is_not_registered_is_refused(site: Site, identity: Identity, code: str) -> None:
    """Whatever is shown."""
    with pytest.raises(HubError) as caught:
        site.connect(identity, site.token(DEVICE_AUDIENCE, site.key(DEVICE)))
    assert caught.value.code == code


def test_a_disabled_device_is_refused_with_its_modules(site: Site) -> None:
    """At once, with a good key."""
    site.hosted.registry.update_device(replace(site.device, status=Status.DISABLED))
    for identity, audience in ((DEVICE, DEVICE_AUDIENCE), (MODULE, MODULE_AUDIENCE)):
        with pytest.raises(HubError, match="is disabled"):
            site.connect(identity, site.token(audience, site.key(identity)))


def test_another_hub_is_refused(site: Site) -> None:
    """The client has come to the wrong place."""
    with pytest.raises(HubError, match="looks for 'elsewhere', which is not this hub"):
        site.connect(DEVICE, site.token(DEVICE_AUDIENCE, site.key(DEVICE)), host="elsewhere")


def test_a_certificate_needs_no_token_and_ends_by_its_own_date(site: Site) -> None:
    """By its thumbprint; then the connection has to go."""
    own, other = signed("any"), signed("any")
    auth = Authentication(AuthType.SELF_SIGNED, primary_thumbprint=thumbprints(own.chain[0])[0])
    site.hosted.registry.update_device(replace(site.device, authentication=auth))
    ends = own.chain[0].not_valid_after_utc.timestamp()
    assert site.connect(DEVICE, None, own.der) == Connected(DEVICE, ends)
    with pytest.raises(HubError, match="the certificate is not one of device 'Edge1'"):
        site.connect(DEVICE, None, other.der)
    with pytest.raises(HubError, match="device 'Edge1' does not authenticate by key"):
        site.connect(DEVICE, site.token(DEVICE_AUDIENCE, b"key"))


def test_without_anything_nobody_connects(site: Site) -> None:
    """The message says what is missing."""
    with pytest.raises(HubError, match="no token and no client certificate"):
        site.connect(DEVICE, None)


def test_what_is_no_token_is_named(site: Site) -> None:
    """As from a client that sends a password."""
    with pytest.raises(HubError, match="not a shared access signature"):
        site.connect(DEVICE, "password")
