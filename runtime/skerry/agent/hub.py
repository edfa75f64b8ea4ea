"""The agent's connection to its hub, kept up by a thread of its own.

Invariants
- All bytes go through one thread; others hand over and take under one lock.
- The agent never waits for the hub: without a connection the last twin seen stays in sight.
- A connection is made anew before its token ends, and when the wall clock jumps: a token of the
  wrong time is refused at the next connection anyway.
- Pauses between attempts double from 1 s to 60 s, each shortened by chance, so that a thousand
  devices do not come back at once. The same trouble is logged once.
"""

import contextlib
import select
import socket
import ssl
import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

from skerry.agent.hub_session import Call, HubSession, TwinView
from skerry.agent.ways import Stream, Way, open_stream
from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.log import Logger
from skerry.wire.mqtt import Connect
from skerry.wire.sas import FreshToken
from skerry.wire.topics import user_name

API_VERSION = "2021-04-12"
_KEEP_ALIVE_SECONDS = 60
_NETWORK_SECONDS = 20.0
_READ_BYTES = 64 * 1024
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
_JUMP_SECONDS = 60.0
_GOODBYE_SECONDS = 2.0
_METHODS_AT_ONCE, _METHODS_WAITING = 4, 16
_BUSY = 429


@dataclass(frozen=True)
class HubSettings:
    """Where the hub is and as whom it is spoken to.

    `host` is dialled: the hub itself or a parent gateway; `hub_name` stands in the user name. The
    ways are tried in turn; one that led to the hub is kept until it does not.
    """

    host: str
    hub_name: str
    device_id: str
    module_id: str
    ways: tuple[Way, ...]
    product: str = ""


Methods = Callable[[str, bytes], tuple[int, bytes]]
"""Runs a direct method: name and payload to status and payload; may take its time."""


class HubLink:
    """Keeps the connection up between `start` and `stop`."""

    def __init__(
        self,
        settings: HubSettings,
        *,
        token: Callable[[float], FreshToken],
        trust: Callable[[], ssl.SSLContext],
        methods: Methods,
        changed: Callable[[], None],
        synced: Callable[[bool], None],
        clock: Clock,
        log: Logger,
        random: Random | None = None,
    ) -> None:
        """`token` and `trust` are asked before each connection; what they raise as SkerryError
        counts as an attempt that failed. On the thread, `changed` is called at every news and
        `synced` with how each attempt to get or follow the twin went."""
        self._settings = settings
        self._token = token
        self._trust = trust
        self._methods = methods
        self._changed = changed
        self._synced = synced
        self._clock = clock
        self._log = log
        self._random = random or Random()  # noqa: S311 - spreads load, keeps no secret
        self._lock = threading.Lock()
        self._wanted: Mapping[str, object] | None = None
        self._answers: deque[tuple[HubSession, Call, int, bytes]] = deque()
        self._calls = 0
        self._stopping = threading.Event()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._pool = ThreadPoolExecutor(_METHODS_AT_ONCE, thread_name_prefix="agent-method")
        self._thread = threading.Thread(target=self._run, name="agent-hub", daemon=True)
        self._said = self._shown = ""
        self.twin: TwinView | None = None
        """The last twin seen, of this or a former connection; None before the first."""
        self.is_connected = False
        self.problem = ""
        """Why there is no connection; empty while there is one."""

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye to the hub and end the thread."""
        self._stopping.set()
        self._wake()
        self._thread.join(_GOODBYE_SECONDS)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._wake_in.close()
        self._wake_out.close()

    def report(self, properties: Mapping[str, object]) -> None:
        """Say what the reported properties shall be; sent when and as soon as that is possible."""
        with self._lock:
            self._wanted = properties
        self._wake()

    def _run(self) -> None:
        pause, turn = _FIRST_PAUSE_SECONDS, 0
        ways = self._settings.ways
        while not self._stopping.is_set():
            try:
                self._converse(ways[turn % len(ways)])
            except (SkerryError, OSError) as error:
                self._synced(False)
                self._tell(f"{ways[turn % len(ways)]}: {str(error) or type(error).__name__}")
                turn += not self.is_connected
            pause = _FIRST_PAUSE_SECONDS if self.is_connected else pause
            if self.is_connected:
                self.is_connected = False
                self._changed()
            self._stopping.wait(pause * self._random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _converse(self, way: Way) -> None:
        """Connect and serve until a new token is due. Raises what ended it otherwise."""
        token = self._token(self._clock.now().timestamp())
        context = self._trust()
        with open_stream(way, self._settings.host, context, _NETWORK_SECONDS) as stream:
            session = HubSession(self._connect(token), self._clock.monotonic(), _new_id)
            self._serve(stream, session, token)
            session.close()
            self._send(stream, session)

    def _serve(self, stream: Stream, session: HubSession, token: FreshToken) -> None:
        offset = self._offset()
        while not self._stopping.is_set():
            now = self._clock.monotonic()
            self._hand_over(session, now)
            session.tick(now)
            self._send(stream, session)
            if self._clock.now().timestamp() >= token.renew_at:
                return
            if abs(self._offset() - offset) > _JUMP_SECONDS:
                self._log.info("the clock has jumped; connecting to the hub again")
                return
            self._wait(stream, session.due() - now)
            data = stream.read()
            if data == b"":
                raise ConnectionResetError("the hub has closed the connection")
            if data:
                for call in session.feed(data, self._clock.monotonic()):
                    self._call(session, call)
            self._look_at(session)

    def _connect(self, token: FreshToken) -> Connect:
        settings = self._settings
        client_id = f"{settings.device_id}/{settings.module_id}"
        name = user_name(settings.hub_name, client_id, API_VERSION, settings.product)
        return Connect(client_id, name, token.text.encode(), False, _KEEP_ALIVE_SECONDS)

    def _hand_over(self, session: HubSession, now: float) -> None:
        with self._lock:
            wanted = self._wanted
            answers = list(self._answers)
            self._answers.clear()
        for asked, call, status, payload in answers:
            if asked is session:  # nobody waits any more for an answer to a former connection
                session.answer(call, status, payload)
        if wanted is not None:
            session.want(wanted, now)

    def _look_at(self, session: HubSession) -> None:
        if session.problem != self._shown:
            self._shown = session.problem
            if session.problem:
                self._log.warning("the hub objects", reason=session.problem)
        if session.twin is None or session.twin is self.twin:
            return
        if self.twin is None or self.twin.desired is not session.twin.desired:
            self._synced(True)
        self.twin = session.twin
        if not self.is_connected:
            self.is_connected = True
            self._said = self.problem = ""
            self._log.info("connected to the hub", hub=self._settings.hub_name)
        self._changed()

    def _call(self, session: HubSession, call: Call) -> None:
        with self._lock:
            is_busy = self._calls >= _METHODS_WAITING
            self._calls += not is_busy
        if is_busy:
            session.answer(call, _BUSY, b'{"message":"too many direct methods at once"}')
        else:
            self._pool.submit(self._run_method, session, call)

    def _run_method(self, session: HubSession, call: Call) -> None:
        try:
            status, payload = self._methods(call.name, call.payload)
        except Exception:
            self._log.exception("direct method failed", method=call.name)
            status, payload = 500, b'{"message":"internal error; see the log of the agent"}'
        with self._lock:
            self._calls -= 1
            self._answers.append((session, call, status, payload))
        self._wake()

    def _wait(self, stream: Stream, seconds: float) -> None:
        if stream.has_pending():
            return
        # Not longer: the wall clock may jump meanwhile, and nothing else would tell.
        seconds = min(max(seconds, 0.0), _KEEP_ALIVE_SECONDS / 2)
        watched: list[Stream | socket.socket] = [stream, self._wake_out]
        readable, _, _ = select.select(watched, [], [], seconds)
        if self._wake_out in readable:
            self._wake_out.recv(_READ_BYTES)

    def _send(self, stream: Stream, session: HubSession) -> None:
        data = session.output(self._clock.monotonic())
        if data:
            stream.write(data)

    def _offset(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it is awake already, or has ended
            self._wake_in.send(b"\0")

    def _tell(self, reason: str) -> None:
        self.problem = reason
        if reason != self._said:
            self._said = reason
            self._log.warning("hub not reached; trying again", reason=reason)


def _new_id() -> str:
    return uuid.uuid4().hex
