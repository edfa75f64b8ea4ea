"""The steps that the agent takes."""

from dataclasses import dataclass

from skerry.agent.model import Wanted


@dataclass(frozen=True)
class Remove:
    """Remove a container and its identity."""

    name: str


@dataclass(frozen=True)
class Create:
    """Create a container, replacing one of the same name, and start it if it shall run."""

    module: Wanted


@dataclass(frozen=True)
class Start:
    """Start a container; `again` when it ended by itself, which is counted."""

    name: str
    again: bool


@dataclass(frozen=True)
class Stop:
    """Stop a running container."""

    name: str


Step = Remove | Create | Start | Stop
