"""Removes images that nobody uses any more, of those that edged has brought.

What stays, however old: images of any container, of preload.json, of the configured agent, of the
deployment in force, the one before it and one that is being prepared. When that cannot be told,
nothing is removed. Trouble is said once and tried again; it ends nothing.
"""

import threading
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.log import Logger
from skerry.engine.errors import EngineError, EngineNotFoundError, EngineUnreachableError
from skerry.engine.model import Engine
from skerry.workloads.deployment import Deployment
from skerry.workloads.image_use import ImageUse
from skerry.workloads.settings import CollectionSettings

_LOOK_SECONDS = 60.0
_FIRST_SECONDS = 600.0
"""A device that was off at the time of the day collects soon after its start, but not in it."""


class Collector:
    """Looks once a minute whether it is time; `needed` are the references that have to stay.

    `pauses` are the seconds before the first look and between two.
    """

    def __init__(
        self,
        engine: Engine,
        use: ImageUse,
        settings: CollectionSettings,
        needed: Callable[[], set[str]],
        clock: Clock,
        log: Logger,
        pauses: tuple[float, float] = (_FIRST_SECONDS, _LOOK_SECONDS),
    ) -> None:
        self._pauses = pauses
        self._engine = engine
        self._use = use
        self._settings = settings
        self._needed = needed
        self._clock = clock
        self._log = log
        self._trouble = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    def start(self) -> None:
        """Begin, in the background; nothing happens when collection is switched off."""
        if self._settings.enabled:
            self._thread.start()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()

    def look(self) -> None:
        """Collect if it is time."""
        last = self._use.last_collection()
        if last is None:
            self._use.collected()  # the first one comes a whole round after the first start
        elif is_due(self._clock.now().astimezone(), last.astimezone(), self._settings):
            self.collect()
            self._use.collected()

    def collect(self) -> list[str]:
        """Remove what is of no use; returns the ids. Raises what keeps it from being known."""
        stay = self._staying()
        self._use.touched(stay)
        removed = []
        for image_id in self._use.older_than(self._settings.age_seconds):
            if self._stopping.is_set():
                break
            if image_id not in stay and self._remove(image_id):
                removed.append(image_id)
        return removed

    def _staying(self) -> set[str]:
        stay = self._engine.images_in_use()
        for reference in self._needed():
            try:
                stay.add(self._engine.image(reference).id)
            except EngineNotFoundError:
                continue
        return stay

    def _remove(self, image_id: str) -> bool:
        try:
            self._engine.remove_image(image_id)
        except EngineNotFoundError:
            self._use.forget(image_id)
            return False
        except EngineUnreachableError:
            raise
        except EngineError as error:
            self._log.warning("image not removed", image=image_id, reason=error)
            return False
        self._use.forget(image_id)
        self._log.info("unused image removed", image=image_id)
        return True

    def _run(self) -> None:
        pause, between = self._pauses
        while not self._stopping.wait(pause):
            pause = between
            try:
                self.look()
                self._trouble = ""
            except (SkerryError, OSError) as error:
                self._complain(error)
            except Exception:  # the edge of this thread: a defect here is no reason to stop modules
                self._log.exception("image collection failed")

    def _complain(self, error: Exception) -> None:
        if self._trouble != str(error):
            self._trouble = str(error)
            self._log.warning("images not collected", reason=error)


def is_due(now: datetime, last: datetime, settings: CollectionSettings) -> bool:
    """Tell whether the time of the day has passed on enough days since; both in local time."""
    days = timedelta(days=settings.every_days)
    return _last_point(now, settings.at) - _last_point(last, settings.at) >= days


def needed_images(deployment: Deployment) -> set[str]:
    """Return the images of the deployment in force, and of those that the agent keeps.

    A deployment from the cloud is known by what the agent reports.
    """
    history = deployment.history() or {}
    kept = history.get("images")
    named = {image for image in kept if isinstance(image, str)} if isinstance(kept, list) else set()
    return named | {
        image
        for document in (deployment.read(), deployment.report())
        for image in images_of(document)
    }


def images_of(document: object) -> Iterator[str]:
    """Yield every image that a manifest or a report names."""
    if isinstance(document, dict):
        image = document.get("image")
        if isinstance(image, str) and image:
            yield image
        for value in document.values():
            yield from images_of(value)
    elif isinstance(document, list):
        for value in document:
            yield from images_of(value)


def _last_point(moment: datetime, at: time) -> date:
    """Return the day of the last time of the day until a moment."""
    passed = moment.time() >= at
    return moment.date() if passed else moment.date() - timedelta(days=1)
