"""The secrets of modules: each has a value, and what sealed it opens it again."""

from skerry.base.client import ApiError, UnreachableError
from skerry.check.appliance import Appliance
from skerry.check.model import Check, Finding, Section, error, ignored, ok, warning, worst
from skerry.workloads.client import ManagementClient

_ANSWER_SECONDS = 10.0


def _secrets(appliance: Appliance) -> Finding:
    try:
        secrets = ManagementClient(appliance.socket("edged"), _ANSWER_SECONDS).secrets()
    except (ApiError, UnreachableError) as problem:
        return error(f"edged does not tell: {problem}", "journalctl -u skerry-edged")
    if not secrets:
        return ignored("no module has a secret")
    remedy = "skerry secret list; a value is given anew with: sudo skerry secret set NAME"
    found = [
        # without a value there may be nobody yet who needs one
        (warning if secret["origin"] == "none" else error)(str(secret["problem"]), remedy)
        for secret in secrets
        if secret["problem"] is not None
    ]
    return worst(found, ok(f"{len(secrets)} secrets can be opened"))


CHECKS = (
    Check(
        "module-secrets",
        Section.APPLIANCE,
        "the secrets of the modules can be opened",
        _secrets,
        needs=("edged-running",),
    ),
)
