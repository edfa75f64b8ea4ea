"""edged with a stopwatch: the commands of azure-iot-edge.md §5.7 are measured and counted."""

from collections.abc import Mapping
from pathlib import Path

from skerry.agent.client import EdgedClient
from skerry.agent.figures import Figures


class MeteredEdged(EdgedClient):
    """Calls the management API and tells how long the engine's part took."""

    def __init__(self, socket_path: Path, api_version: str, figures: Figures) -> None:
        super().__init__(socket_path, api_version)
        self._figures = figures

    def create(self, spec: Mapping[str, object], *, exists: bool, start: bool) -> None:
        name = str(spec["name"])
        with self._figures.command("update" if exists else "create", name):
            super().create(spec, exists=exists, start=False)
        if start:
            self.act(name, "start")

    def act(self, name: str, action: str) -> None:
        with self._figures.command(action, name):
            super().act(name, action)

    def remove(self, name: str) -> None:
        with self._figures.command("remove", name):
            super().remove(name)

    def prepare(self, spec: Mapping[str, object]) -> None:
        with self._figures.command("prepareUpdate", str(spec["name"])):
            super().prepare(spec)
