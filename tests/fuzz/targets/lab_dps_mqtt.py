"""DPS over MQTT: user names, topics and payloads of a peer whose password holds.

An input is the user name after the id scope, a line a topic with its payload behind a space.
"""

import asyncio
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from fuzz.targets.lab_routes import cloud
from harness.lab import ask, make_token
from skerry.heads.routes import Answer, Request
from skerry.wire.mqtt import Connect, MqttError, Publish, encode
from skerry.wire.topics import TopicError
from skerry_lab.cloud import Cloud
from skerry_lab.dps.model import Attestation, Enrollment
from skerry_lab.dps.mqtt import ACCEPTED, DpsLink

T = TypeVar("T")

ALLOWED = (TopicError,)
_KEY_TEXT, _KEY = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=", b"k" * 32
_START = b"/registrations/m1/api-version=2019-03-31&ClientVersion=x\n"
SEEDS = [
    _START + b'$dps/registrations/PUT/iotdps-register/?$rid=1 {"registrationId": "m1"}',
    _START + b"$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&operationId=5.a%2Fb  ",
    b"/registrations/m1/?api-version=2021-06-01\n",
]


class _Memory:
    async def ado(self, work: Callable[[Cloud], T]) -> T:
        return work(cloud()[0])

    async def answer(self, request: Request) -> Answer:
        return ask(*cloud(), request)


@cache
def _enrolled() -> str:
    lab, _ = cloud()
    enrollment = Enrollment("m1", Attestation.SYMMETRIC_KEY, primary_key=_KEY_TEXT, echo=True)
    lab.dps.put_enrollment(enrollment)
    return lab.id_scope


async def _talk(name: str, lines: list[str]) -> None:
    scope = _enrolled()
    expiry = cloud()[0].clock.now().timestamp() + 60
    token = make_token(f"{scope}/registrations/m1", _KEY, expiry)
    link = DpsLink(_Memory())
    if await link.connect(Connect("m1", scope + name, token.encode()), ()) != ACCEPTED:
        return
    for line in lines:
        topic, _, payload = line.partition(" ")
        for answer, body in await link.publish(topic, payload.encode()):
            assert answer.split("/")[3] in ("200", "202", "400", "404", "401"), answer
            encode(Publish(answer, body))


def one(data: bytes) -> None:
    """Connect and publish; what is answered is a topic that MQTT can carry."""
    name, *lines = data.decode(errors="replace").split("\n")
    try:
        asyncio.run(_talk(name, [line for line in lines if "#" not in line and "+" not in line]))
    except MqttError as error:
        raise AssertionError(str(error)) from error
