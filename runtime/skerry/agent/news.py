"""Waits for another deployment, so that the agent acts on it at once and not at its next look.

edged answers when there is one. While it cannot be asked the agent's own looks, every 5 s, do.
"""

import threading
from collections.abc import Callable

from skerry.base.client import ApiError, UnreachableError

_PAUSE_SECONDS = 5.0


def watch_news(
    ask: Callable[[str], str], changed: Callable[[], None], stop: threading.Event
) -> threading.Thread:
    """Call `changed`, on a thread of its own, whenever `ask` returns another state."""

    def watch() -> None:
        state = ""
        while not stop.is_set():
            try:
                found = ask(state)
            except (ApiError, UnreachableError):
                stop.wait(_PAUSE_SECONDS)
                continue
            if found != state:
                state = found
                changed()

    thread = threading.Thread(target=watch, name="agent-news", daemon=True)
    thread.start()
    return thread
