"""The part of the hub that lives on the loop: who is connected, and how they learn of changes.

Whatever is committed, by this process or another one, is noticed here: at once for this one's, by
SQLite's `data_version` every `_LOOK_SECONDS` for others'. Notices go to the links that they
concern, in the order of the changes.
"""

import asyncio
import contextlib

from skerry.base.log import Logger
from skerry.heads.links import Link, Links
from skerry.heads.routes import Answer, LiveHandler, LiveRoute, Request, Router, Stream
from skerry_lab.configurations.live_api import LiveConfigurationsApi
from skerry_lab.errors import LabError
from skerry_lab.messages.events import EventsApi
from skerry_lab.messages.files_api import FilesApi
from skerry_lab.methods.api import MethodsApi
from skerry_lab.outbox import Kind, Notice
from skerry_lab.query.api import QueryApi
from skerry_lab.store import Store

_LOOK_SECONDS = 0.2
_TIDY_SECONDS = 5.0


class Changes:
    """Counts commits; whoever waits for news waits here."""

    def __init__(self) -> None:
        self.count = 0
        self._next = asyncio.Event()

    def notify(self) -> None:
        """Wake all who wait."""
        self.count += 1
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, seen: int, seconds: float) -> None:
        """Wait until `count` differs from `seen`, or for so long."""
        if self.count == seen:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._next.wait()


class Live:
    """To be made and used on the loop."""

    def __init__(self, store: Store, log: Logger) -> None:
        self.store = store
        self.links = Links()
        self.changes = Changes()
        routes: list[LiveRoute] = [  # each API that waits adds its own
            *EventsApi(store, self.changes).routes(),
            *MethodsApi(store, self.links).routes(),
            *FilesApi(store).routes(),
            *QueryApi(store).routes(),
            *LiveConfigurationsApi(store).routes(),
        ]
        store.cloud.presence.count_devices = self.links.count_devices
        store.cloud.presence.is_connected = lambda one: self.links.get(one) is not None
        self.router: Router[LiveHandler] = Router(routes)
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._is_told = False

    async def answer(self, request: Request) -> Answer | Stream:
        """Answer a request; what refuses it has stored nothing."""
        found = self.router.find(request)
        if found is None:
            return await self.store.answer(request)
        handler, parameters = found
        try:
            return await handler(request, **parameters)
        except Exception as error:
            return self.store.cloud.refusal(error)

    async def run(self) -> None:
        """Pass notices on until cancelled."""
        self.store.on_commit(self._committed)
        version = await self.store.data_version()
        targeting = self.store.cloud.targeting
        while True:
            seen = self.changes.count
            try:
                if self.store.cloud.outbox.has_news:
                    self._pass_on(await self.store.ado(lambda cloud: cloud.outbox.take()))
                    continue
                if targeting.has_work:
                    await self.store.ado(lambda cloud: cloud.targeting.step())
                    continue
                await self.changes.wait(seen, _LOOK_SECONDS)
                found = await self.store.data_version()
                if found != version:
                    version = found
                    targeting.has_work = True
                    self.changes.notify()
                    self._pass_on(await self.store.ado(lambda cloud: cloud.outbox.take()))
            except LabError as error:
                self._log.error("changes cannot be read", reason=error)
                await asyncio.sleep(_LOOK_SECONDS)

    async def tidy(self) -> None:
        """Let messages and their locks end when their time has come, until cancelled."""
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            try:
                await self.store.ado(lambda cloud: cloud.messages.tidy())
            except LabError as error:
                self._log.error("messages cannot be tidied", reason=error)

    def _committed(self) -> None:
        """Runs on the database's thread."""
        if not self._is_told:
            self._is_told = True
            with contextlib.suppress(RuntimeError):  # the loop has ended, nobody waits
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._is_told = False
        self.changes.notify()

    def _pass_on(self, notices: list[Notice]) -> None:
        for notice in notices:
            for link in self._concerned(notice):
                match notice.kind:
                    case Kind.DESIRED:
                        version, patch = notice.data["version"], notice.data["patch"]
                        if isinstance(version, int) and isinstance(patch, dict):
                            link.desired(version, patch)
                    case Kind.C2D:
                        link.messages_waiting()
                    case Kind.IDENTITY:
                        link.identity_changed()

    def _concerned(self, notice: Notice) -> list[Link]:
        identities = [notice.identity]
        if notice.kind is Kind.IDENTITY and notice.identity.module_id is None:
            # What happens to a device happens to its modules.
            device_id = notice.identity.device_id
            identities = [one for one in self.links.identities() if one.device_id == device_id]
        found = (self.links.get(identity) for identity in identities)
        return [link for link in found if link is not None]
