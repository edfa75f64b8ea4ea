"""Brings the configurations that target a device onto its twins, and takes others off.

A device is looked at when it, one of its twins or modules changes, in the same transaction. All are
when a configuration changes: that is a sweep, in steps of a transaction each; how far it is, is
stored. So whenever it is killed, what is marked as applied is in the twins. A device on which
something cannot be applied (too large, say) keeps what it has until it is looked at again.
"""

from collections.abc import Sequence
from dataclasses import replace

from skerry.base.log import Logger
from skerry.wire.identity import Identity
from skerry_lab.configurations.content import Deployments
from skerry_lab.configurations.look import Known, Look
from skerry_lab.configurations.model import AGENT_MODULE, Content, target_of
from skerry_lab.configurations.store import ConfigurationStore, Mark, Marks
from skerry_lab.errors import ApiError
from skerry_lab.registry.service import Registry
from skerry_lab.twins.model import Twin
from skerry_lab.twins.service import Twins
from skerry_lab.twins.views import View, Views

STEP_DEVICES = 50

_SUCCESS = 200


class Targeting:
    """To be called on the database's thread; `has_work` anywhere."""

    def __init__(
        self,
        store: ConfigurationStore,
        registry: Registry,
        twins: Twins,
        views: Views,
        deployments: Deployments,
        log: Logger,
    ) -> None:
        self._store = store
        self._registry = registry
        self._twins = twins
        self._views = views
        self._deployments = deployments
        self._log = log
        self._ready: dict[int, tuple[str, Known]] = {}
        self._is_busy = False
        self.step_devices = STEP_DEVICES
        self.has_work = True
        """Whether a sweep may have to go on."""

    def begin(self) -> None:
        """Have all devices looked at: the first ones now, others by `step`."""
        self._store.begin_sweep()
        self.step()

    def step(self) -> bool:
        """Go on with the sweep; False when there is nothing to do."""
        after = self._store.sweep()
        self.has_work = after is not None
        if after is None:
            return False
        known = self._known()
        found = self._views.devices_after(after, self.step_devices)
        for identity, view in found:
            self._look_at(identity.device_id, known, view)
        if len(found) < self.step_devices:
            self._store.end_sweep()
            self._store.purge()
        else:
            self._store.move_sweep(found[-1][0].device_id)
        return True

    def registered(self, identity: Identity) -> None:
        """Look at a device that was stored, or has a module that was."""
        known = [] if self._is_busy else self._known()
        if known:
            self._look_at(identity.device_id, known)

    def changed(self, identity: Identity, parts: frozenset[str]) -> None:
        """Look at a device of whose twins these parts have changed."""
        known = [] if self._is_busy else self._known()
        is_report = identity.module_id == AGENT_MODULE
        for one in known:
            if (is_report and one.kind is Content.EDGE) or one.reads(identity, parts):
                self._look_at(identity.device_id, known)
                return

    def _known(self) -> list[Known]:
        # Read anew every time: another process may have changed them.
        ready: dict[int, tuple[str, Known]] = {}
        for number, etag in self._store.versions():
            found = self._ready.get(number)
            if found is None or found[0] != etag:
                configuration = self._store.by_number(number)
                query = target_of(configuration) if etag else None
                found = etag, Known(configuration, query, configuration.sections())
            ready[number] = found
        self._ready = ready
        return [known for _, known in ready.values()]

    def _look_at(self, device_id: str, known: Sequence[Known], view: View | None = None) -> None:
        self._is_busy = True
        try:
            former = self._store.marks(device_id)
            view = view or self._views.of(Identity(device_id))
            look = Look(device_id, known, former, self._registry, self._views, self._deployments)
            connection = self._store.connection
            connection.execute("SAVEPOINT targeting")
            try:
                marks = look.apply(view)
            except ApiError as error:
                connection.execute("ROLLBACK TO targeting")
                self._log.warning("configurations not applied", device=device_id, reason=error)
                marks = {key: former.get(key, Mark()) for key in look.wanted}
                marks |= {key: mark for key, mark in former.items() if mark.is_applied}
            finally:
                connection.execute("RELEASE targeting")
            marks = self._with_reports(device_id, known, marks)
            if marks != former:
                self._store.put_marks(device_id, former, marks)
        finally:
            self._is_busy = False

    def _with_reports(self, device_id: str, known: Sequence[Known], marks: Marks) -> Marks:
        deployments = {one.number for one in known if one.kind is Content.EDGE}
        agent = {
            key: mark
            for key, mark in marks.items()
            if key[0] == AGENT_MODULE and key[1] in deployments and mark.is_applied
        }
        if not agent:
            return marks
        reported = _reported(self._twins.store.get(Identity(device_id, AGENT_MODULE)))
        return marks | {key: replace(mark, reported=reported) for key, mark in agent.items()}


def _reported(twin: Twin) -> bool | None:
    """Whether the agent reports success of what it was told last; None while it does not say."""
    reported = twin.reported.properties
    status = reported.get("lastDesiredStatus")
    code = status.get("code") if isinstance(status, dict) else None
    if reported.get("lastDesiredVersion") != twin.desired.version or not isinstance(code, int):
        return None
    return code == _SUCCESS
