"""One look at one device: which configurations target it, and what has to change in its twins."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from skerry.wire.identity import Identity
from skerry_lab.configurations.content import Deployments, Settings, conflicts
from skerry_lab.configurations.model import AGENT_MODULE, Configuration, Content, is_layer
from skerry_lab.configurations.store import Mark, Marks
from skerry_lab.query.query import Query
from skerry_lab.registry.service import Registry
from skerry_lab.twins.views import View, Views


@dataclass(frozen=True)
class Known:
    """A configuration that is ready to be asked; without a query it targets nobody."""

    configuration: Configuration
    query: Query | None
    sections: Mapping[str, Settings]

    @cached_property
    def kind(self) -> Content:
        return self.configuration.kind

    @property
    def number(self) -> int:
        return self.configuration.number

    def takes(self, view: View) -> bool:
        """Tell whether it targets a twin."""
        return self.query is not None and self.query.takes(view)

    def reads(self, identity: Identity, parts: frozenset[str]) -> bool:
        """Tell whether its condition asks for one of these parts of a twin."""
        is_of_modules = self.kind is Content.MODULE
        if self.query is None or is_of_modules is not (identity.module_id is not None):
            return False
        return any(parts.intersection(map(str, path.steps[:2])) for path in self.query.paths)


def in_force(targeting: Iterable[Known]) -> list[Known]:
    """Return which of the deployments that target a device make up what it runs.

    The base of the highest rank and on it, from low to high, the layers of higher priority.
    """
    found = sorted(targeting, key=_rank)
    bases = [one for one in found if not is_layer(one.sections)]
    if not bases:
        return []
    least = bases[-1].configuration.priority
    layers = [one for one in found if is_layer(one.sections)]
    return [bases[-1], *(layer for layer in layers if layer.configuration.priority > least)]


def without_conflicts(targeting: Iterable[Known]) -> list[Known]:
    """Return which configurations of one twin hold: of two for one place the higher."""
    taken: list[Known] = []
    for one in sorted(targeting, key=_rank, reverse=True):
        if not any(conflicts(one.sections[""], other.sections[""]) for other in taken):
            taken.insert(0, one)
    return taken


class Look:
    """`wanted` are the marks of the device and of its deployments, once `apply` was called."""

    def __init__(
        self,
        device_id: str,
        known: Sequence[Known],
        former: Marks,
        registry: Registry,
        views: Views,
        deployments: Deployments,
    ) -> None:
        self._device_id = device_id
        self._known = known
        self._by_number = {one.number: one for one in known}
        self._former = former
        self._registry = registry
        self._views = views
        self._deployments = deployments
        self.wanted: Marks = {}

    def apply(self, view: View) -> Marks:
        """Change the twins and return the marks. Raises: HubError, then nothing may be kept."""
        is_edge = view["capabilities"] == {"iotEdge": True}
        deployments = [one for one in self._of(Content.EDGE) if is_edge and one.takes(view)]
        edge = in_force(deployments)
        own = [one for one in self._of(Content.DEVICE) if one.takes(view)]
        chosen = without_conflicts(own)
        self.wanted = _marks(AGENT_MODULE, deployments, edge) | _marks("", own, chosen)
        self._put(None, self._applied("", Content.DEVICE), chosen, "")
        return self.wanted | self._apply_to_modules(edge)

    def _apply_to_modules(self, edge: Sequence[Known]) -> Marks:
        # Without a deployment a device keeps what it runs, as in IoT Hub.
        former = self._applied(AGENT_MODULE, Content.EDGE) if edge else []
        names: set[str] = set()
        if edge != former:
            names.update(*(one.sections for one in (*former, *edge)))
            for name in chain.from_iterable(one.sections for one in edge):
                self._deployments.ensure_module(self._device_id, name)
        configurations = self._of(Content.MODULE)
        if not configurations and not names:
            return {}
        present = [one.module_id for one in self._registry.store.modules(self._device_id)]
        marks: Marks = {}
        for name in present if configurations else sorted(names.intersection(present)):
            targeting = self._targeting(name, configurations)
            chosen = without_conflicts(targeting)
            marks |= _marks(name, targeting, chosen)
            before = [one for one in former if name in one.sections]
            after = [one for one in edge if name in one.sections]
            applied = self._applied(name, Content.MODULE)
            if before != after or applied != chosen:
                self._put(name, [*before, *applied], [*after, *chosen], name)
        return marks

    def _targeting(self, name: str, configurations: Sequence[Known]) -> list[Known]:
        if not configurations:
            return []
        view = self._views.of(Identity(self._device_id, name))
        return [one for one in configurations if one.takes(view)]

    def _put(
        self, module_id: str | None, former: Sequence[Known], wanted: Sequence[Known], name: str
    ) -> None:
        if former == wanted:
            return
        paths = [path for one in former for path, _ in _settings(one, name)]
        settings = [setting for one in wanted for setting in _settings(one, name)]
        self._deployments.put(Identity(self._device_id, module_id), paths, settings)

    def _of(self, kind: Content) -> list[Known]:
        return [one for one in self._known if one.kind is kind]

    def _applied(self, module_id: str, kind: Content) -> list[Known]:
        """Return what was applied before, in its order."""
        found = [
            (mark.place, self._by_number[number])
            for (name, number), mark in self._former.items()
            if name == module_id and mark.is_applied and number in self._by_number
        ]
        return [one for _, one in sorted(found, key=_place) if one.kind is kind]


def _marks(module_id: str, targeting: Iterable[Known], applied: Sequence[Known]) -> Marks:
    places = {one.number: place for place, one in enumerate(applied, start=1)}
    return {(module_id, one.number): Mark(places.get(one.number, 0)) for one in targeting}


def _settings(one: Known, name: str) -> Settings:
    return one.sections[name if one.kind is Content.EDGE else ""]


def _rank(one: Known) -> tuple[int, int]:
    return one.configuration.rank


def _place(found: tuple[int, Known]) -> int:
    return found[0]
