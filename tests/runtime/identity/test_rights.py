"""Who may call which route of identityd, by kernel uid."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.services import Hosted, Services

DAEMON, DEVICE, READER, STRANGER = 2001, 2002, 2003, 2004
IDENTITYD = f"""
hostname = "pump"
[provisioning]
source = "standalone"
[[principal]]
uid = {DAEMON}
name = "aziot-edge"
[[principal]]
uid = {DEVICE}
name = "telemetry"
idtype = ["device"]
[[principal]]
uid = {READER}
name = "reader"
idtype = ["module"]
"""


@pytest.fixture(scope="module")
def identityd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """An identityd whose principals are other users than ours."""
    running = Services(tmp_path_factory.mktemp("rights"))
    mine = os.getuid()
    running.configure("keyd", f'[[principal]]\nuid = {mine}\nkeys = ["*"]\n')
    running.configure(
        "certd",
        '[cert_issuance.device-id]\nmethod = "self_signed"\n'
        f'[[principal]]\nuid = {mine}\ncerts = ["*"]\n',
    )
    running.configure("identityd", IDENTITYD)
    running.host("keyd")
    running.host("certd")
    yield running.host("identityd")
    running.stop()


BODIES = {
    "POST /identities/device": {"type": "aziot"},
    "POST /identities/modules": {"type": "aziot", "moduleId": "made"},
    "PUT /identities/modules/reader": {"type": "aziot"},
}
EVERYBODY = {0, DAEMON, DEVICE, READER, STRANGER}
RIGHTS = {
    "GET /identities/identity": {DAEMON, DEVICE, READER},
    "POST /identities/device": {0, DAEMON, DEVICE},
    "POST /identities/device/reprovision": {0, DAEMON},
    "GET /identities/modules": {0, DAEMON},
    "POST /identities/modules": {0, DAEMON},
    "GET /identities/modules/reader": {0, DAEMON, READER},
    "GET /identities/modules/made": {0, DAEMON},
    "PUT /identities/modules/reader": {0, DAEMON},
    "DELETE /identities/modules/gone": {0, DAEMON},
    "GET /identities/provisioning": EVERYBODY,
    "GET /trust-bundle": EVERYBODY,
}


@pytest.mark.parametrize("line", RIGHTS)
def test_only_these_users_may_call(identityd: Hosted, line: str) -> None:
    """Everybody else gets 401 and no reason."""
    identityd.call(0, "POST /identities/modules", {"type": "aziot", "moduleId": "made"})
    answers = {uid: identityd.call(uid, line, BODIES.get(line), type="aziot") for uid in EVERYBODY}
    allowed = {uid for uid, (status, _) in answers.items() if status in (200, 204)}
    assert allowed == RIGHTS[line]
    refused = {answer for uid, answer in answers.items() if uid not in allowed}
    assert refused <= {(401, "unauthorized")}


@pytest.mark.parametrize(("uid", "module_id"), [(DAEMON, None), (DEVICE, None), (READER, "reader")])
def test_everyone_is_told_their_own_identity(
    identityd: Hosted, uid: int, module_id: str | None
) -> None:
    """Daemons and device principals are the device, a module principal is its module."""
    status, answer = identityd.call(uid, "GET /identities/identity")
    assert status == 200
    assert isinstance(answer, dict)
    assert answer["spec"].get("moduleId") == module_id
    assert answer["spec"]["auth"]["type"] == ("sas" if module_id else "x509")


@pytest.mark.parametrize("line", ["POST /identities/device/other", "GET /identities"])
def test_other_routes_do_not_exist(identityd: Hosted, line: str) -> None:
    """A route that is not there is 404 for root too."""
    assert identityd.call(0, line) == (404, "not found")


def test_a_broken_record_fails_its_request(tmp_path: Path) -> None:
    """One record that cannot be read is an internal error of that request."""
    running = Services(tmp_path)
    running.configure("identityd", IDENTITYD.partition("[[principal]]")[0])
    try:
        lonely = running.host("identityd")
        answer = lonely.call(0, "GET /identities/modules/broken", type="aziot")
        assert answer == (400, "there is no module identity 'broken'")
        folder = next((tmp_path / "identityd" / "state" / "modules").iterdir())
        (folder / "broken-0").write_bytes(b"{")
        assert lonely.call(0, "GET /identities/modules", type="aziot") == (500, "internal error")
    finally:
        running.stop()
