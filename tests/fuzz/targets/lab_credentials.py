"""What a caller shows the lab, a token or a certificate: no content of either lets it in.

An input is `T` and an Authorization header, or `C` and a certificate.
"""

from functools import cache

from fuzz.targets.lab_routes import cloud
from harness.lab import HUB, ask, make_token, signed
from skerry.heads.routes import Request
from skerry_lab.dps.model import Attestation, Enrollment
from skerry_lab.registry.model import Authentication, AuthType, Device

ALLOWED = ()
_HOUR = 1795435200
_LEAF = signed("d1", signed("root", authority=True))
SEEDS = [
    b"T" + make_token(f"{HUB}/devices/d1", b"x" * 32, _HOUR).encode(),
    b"T" + make_token(HUB, b"x" * 32, _HOUR, "iothubowner").encode(),
    b"T" + make_token("scope/registrations/d1", b"x" * 32, _HOUR, "registration").encode(),
    b"TSharedAccessSignature sr=hub.example%252Fdevices%252Fd1&sig=AAAA&se=1795435200&skn=",
    b"C" + _LEAF.der[0],
    b"C" + _LEAF.der[1],
]


@cache
def _trusting() -> None:
    lab, _ = cloud()
    auth = Authentication(AuthType.CERTIFICATE_AUTHORITY)
    lab.registry.put_device(Device("x1", auth))
    keys = lab.registry.fresh_keys()
    lab.registry.put_device(Device("k1", keys))
    # Another authority of the same name: the leaf's signature is looked at, and does not hold.
    pem = signed("root", authority=True).pem
    lab.authorities.put("root", pem, verified=True)
    lab.dps.put_enrollment(Enrollment("site", Attestation.X509, group=True, certificates=(pem,)))


def one(data: bytes) -> None:
    """Try each API with what is shown; the answer is always a refusal."""
    _trusting()
    lab, connection = cloud()
    headers: dict[str, str] = {}
    certificates: tuple[bytes, ...] = ()
    if data[:1] == b"T":
        headers["authorization"] = data[1:].decode("latin-1")
    else:
        certificates = (data[1:], *_LEAF.der)
    for path, version in (
        ("/devices/k1/modules", "2021-04-12"),
        ("/devices/x1/modules", "2021-04-12"),
        ("/devices", "2021-04-12"),
        (f"/{lab.id_scope}/registrations/d1/operations/o", "2021-06-01"),
    ):
        request = Request("GET", path, {"api-version": version}, headers, b"", certificates)
        answer = ask(lab, connection, request)
        assert answer.status in (401, 404), answer
        assert answer.status == 401 or b"o enrollment" in answer.body, answer
