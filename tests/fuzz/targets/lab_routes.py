"""Every route of the lab cloud, with credentials that hold: what comes after them is under test.

An input is method and path, a line with the query, then the body; SCOPE stands for the id scope.
"""

import base64
import re
from dataclasses import replace
from functools import cache

from harness.lab import HUB, ask, make_token, memory_cloud
from skerry.heads.routes import Request
from skerry.wire.tpm import ENDORSEMENT_TEMPLATE, STORAGE_TEMPLATE
from skerry_lab.dps.model import Attestation, Enrollment
from skerry_lab.registry.model import Authentication, AuthType, Device

_MODULUS = b"\xc3" * 256
_ENDORSEMENT, _STORAGE = (
    base64.b64encode(replace(template, unique=_MODULUS).marshal()).decode()
    for template in (ENDORSEMENT_TEMPLATE, STORAGE_TEMPLATE)
)
ALLOWED = ()
SEEDS = [
    b"GET /devices\napi-version=2021-04-12&top=2\n",
    b'PUT /devices/d2\napi-version=2021-04-12\n{"capabilities": {"iotEdge": true}}',
    b'PUT /devices/d1\napi-version=2021-04-12\n{"authentication": {"type": "selfSigned", '
    b'"x509Thumbprint": {"primaryThumbprint": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}}',
    b"DELETE /devices/d1\napi-version=2021-04-12\n",
    b"GET /devices/d1/modules\napi-version=2017-11-08-preview\n",
    b'PUT /devices/d1/modules/%24edgeHub\napi-version=2017-11-08-preview\n{"managedBy": "x", '
    b'"authentication": {"symmetricKey": {"primaryKey": "AAAAAAAAAAAAAAAAAAAAAA=="}}}',
    b"DELETE /devices/d1/modules/%24edgeHub\napi-version=2017-11-08-preview\n",
    b"GET /statistics/devices\napi-version=2021-04-12\n",
    b"GET /statistics/service\napi-version=2021-04-12\n",
    b'PUT /SCOPE/registrations/e1/register\napi-version=2021-06-01\n{"registrationId": "e1"}',
    b'PUT /SCOPE/registrations/e1/register\napi-version=2021-06-01\n{"payload": [{"a": null}]}',
    b'PUT /SCOPE/registrations/t1/register\napi-version=2021-06-01\n{"tpm": {"endorsementKey": '
    b'"' + _ENDORSEMENT.encode() + b'", "storageRootKey": "' + _STORAGE.encode() + b'"}}',
    b"GET /SCOPE/registrations/e1/operations/x\napi-version=2021-06-01\n",
    b'PUT /enrollments/e1\napi-version=2021-10-01\n{"attestation": {"type": "x509", "x509": '
    b'{"clientCertificates": {"primary": {"certificate": "AAAA"}}}}, "iotHubs": ["a"]}',
    b'PUT /enrollmentGroups/g1\napi-version=2021-10-01\n{"attestation": {"type": "symmetricKey"}, '
    b'"reprovisionPolicy": {"migrateDeviceData": false}, "capabilities": {"iotEdge": true}}',
    b'POST /enrollments/query\napi-version=2021-10-01\n{"query": "select * from enrollments"}',
    b"DELETE /registrations/e1\napi-version=2021-10-01\n",
]
_KEY_TEXT, _KEY = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=", b"k" * 32
_OWNER = "iothubowner"

cloud = cache(memory_cloud)


@cache
def _owner_key() -> bytes:
    lab, _ = cloud()
    lab.registry.put_device(Device("d1", Authentication(AuthType.SAS, _KEY_TEXT), edge=True))
    by_key = Attestation.SYMMETRIC_KEY
    lab.dps.put_enrollment(Enrollment("e1", by_key, primary_key=_KEY_TEXT, echo=True))
    lab.dps.put_enrollment(Enrollment("t1", Attestation.TPM, endorsement_key=_ENDORSEMENT))
    owner = lab.policies.get(_OWNER)
    assert owner is not None
    return owner.keys[0]


def one(data: bytes) -> None:
    """Call a route; whatever is not an answer of an API is a defect."""
    owner_key = _owner_key()
    lab, connection = cloud()
    line, _, rest = data.decode("latin-1").partition("\n")
    query, _, body = rest.partition("\n")
    method, _, path = line.replace("SCOPE", lab.id_scope).partition(" ")
    expiry = lab.clock.now().timestamp() + 60
    found = re.match(r"/([^/]+/registrations/[^/]+)/", path)
    if found:
        token = make_token(found[1], _KEY, expiry)
    else:
        token = make_token(HUB, owner_key, expiry, _OWNER)
    headers = {} if '"tpm"' in body else {"authorization": token, "if-match": "*"}
    pairs = dict(pair.partition("=")[::2] for pair in query.split("&"))
    request = Request(method, path, pairs, headers, body.encode("latin-1"))
    answer = ask(lab, connection, request)
    assert answer.status in range(200, 500), answer
