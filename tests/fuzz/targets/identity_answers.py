"""What DPS and the hub answer: a device with any answer has an assignment, modules, or a reason.

An input is a status, a letter for the question, a header line and the body.
"""

from datetime import UTC, datetime

from skerry.base.https import HttpsAnswer
from skerry.provisioning.cloud import parse_answer
from skerry.provisioning.dps import read_assignment
from skerry.provisioning.errors import ProvisioningError
from skerry.provisioning.hub import read_modules

_NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
_URL = "https://dps.example/x"
ALLOWED = (ProvisioningError,)
SEEDS = (
    b"200\nretry-after: 3\n"
    b'{"status": "assigned", "registrationState": {"assignedHub": "h", "deviceId": "d"}}',
    b'202\nretry-after: Fri, 01 Jan 2100 00:00:00 GMT\n{"operationId": "1", "status": "assigning"}',
    b'401\n\n{"errorCode": 401002, "message": "no"}',
    b'200\n\n[{"moduleId": "m", "generationId": "g", "managedBy": null}]',
    b'200\n\n{"status": "failed", "registrationState": {"errorMessage": ["x"]}}',
)


def one(data: bytes) -> None:
    """Read an answer as each of those who ask reads it."""
    status, _, rest = data.partition(b"\n")
    header, _, body = rest.partition(b"\n")
    name, _, value = header.decode("latin-1").partition(": ")
    code = int(status) if status.isdigit() and len(status) == 3 else 200
    answer = parse_answer(_URL, HttpsAnswer(code, {name: value}, body), _NOW)
    if answer.retry_after is not None and not 0 <= answer.retry_after <= 3600:
        raise AssertionError(answer.retry_after)
    for read in (read_assignment, read_modules):
        try:
            read(answer.value)
        except ProvisioningError:
            continue
