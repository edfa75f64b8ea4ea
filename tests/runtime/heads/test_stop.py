"""A head that stops while its clients leave."""

import asyncio
import gc
import warnings

import pytest

from skerry.base.clock import SystemClock
from skerry.base.errors import SkerryError
from skerry.base.log import get_logger
from skerry.heads.links import Links
from skerry.heads.mqtt import MqttHead
from skerry.heads.ports import Backend


def head() -> MqttHead:
    """Return a head without a backend: nobody connects."""
    nothing: Backend = None  # type: ignore[assignment]
    return MqttHead(nothing, Links(), SystemClock(), get_logger("hub"))


def test_work_that_has_not_begun_is_left_without_a_trace() -> None:
    """A client has just left and its messages are to be given back: no warning of Python's."""

    async def give_back() -> None:
        raise AssertionError("begun after the end")

    async def run() -> None:
        stopping = head()
        stopping.spawn(give_back())
        await stopping.close()

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        asyncio.run(run())
        gc.collect()
    assert [str(each.message) for each in found] == []


@pytest.mark.parametrize(
    ("error", "said"),
    [(SkerryError("no room"), 'reason="no room"'), (ValueError("odd"), "ValueError: odd")],
)
def test_work_that_fails_is_told(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And closes nothing; what nobody expected with its traceback."""

    async def fail() -> None:
        raise error

    async def run() -> None:
        serving = head()
        serving.spawn(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await serving.close()

    asyncio.run(run())
    assert "a client cannot be served" in caplog.text
    assert said in caplog.text
