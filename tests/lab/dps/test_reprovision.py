"""What a re-provisioning does to a device's data: twin and waiting messages."""

import base64

import pytest

from harness.lab import Hosted
from skerry.wire.identity import Identity
from skerry_lab.dps.model import Attestation, Enrollment, Reprovision
from skerry_lab.messages.model import Outgoing

KEY = b"k" * 32
DEVICE = Identity("dev1")


def register(lab: Hosted) -> None:
    token = lab.token(f"{lab.scope}/registrations/dev1", KEY)
    line = f"PUT /{lab.scope}/registrations/dev1/register"
    assert lab.call(line, {}, token=token).status == 202


@pytest.mark.parametrize(
    ("policy", "kept"),
    [(Reprovision.KEEP, True), (Reprovision.MIGRATE, True), (Reprovision.RESET, False)],
)
def test_only_a_reset_takes_the_data(hosted: Hosted, policy: Reprovision, kept: bool) -> None:
    """`keep` and `migrate` leave reports and messages, `reset` begins anew."""
    text = base64.b64encode(KEY).decode()
    enrollment = Enrollment(
        "dev1", Attestation.SYMMETRIC_KEY, primary_key=text, secondary_key=text, reprovision=policy
    )
    hosted.store.do(lambda cloud: cloud.dps.put_enrollment(enrollment))
    register(hosted)
    hosted.store.do(lambda cloud: cloud.twins.patch_reported(DEVICE, {"a": 1}))
    hosted.store.do(lambda cloud: cloud.messages.send(Outgoing(DEVICE, b"x")))
    register(hosted)
    twin = hosted.store.do(lambda cloud: cloud.twins.document(DEVICE))
    reported = {"a": 1, "$version": 2} if kept else {"$version": 1}
    assert twin["reported"] == reported
    assert hosted.store.do(lambda cloud: cloud.messages.depth(DEVICE)) == (1 if kept else 0)
